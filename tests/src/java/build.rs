//! Compiles the applications with one version of the SDK.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::files;

/// How many changes the module `many` has.
const MANY: usize = 500;

/// What Maven says when something is not served, or no registry can be reached.
const NOT_SERVED: &[&str] = &[
    "Could not find artifact",
    "Could not transfer artifact",
    "Could not resolve dependencies",
    "could not be resolved",
    "Non-resolvable import POM",
    "Resolution of annotationProcessorPath dependencies failed",
];

pub enum Obstacle {
    /// Something is not there: the tests are skipped.
    Missing(String),
    /// Our own applications do not compile: a failure.
    Broken(String),
}

/// The directory with a directory for each module, in which the file `classpath` says what its JVM needs.
pub fn build(version: &str) -> Result<PathBuf, Obstacle> {
    for (program, argument) in [("java", "-version"), ("mvn", "--version")] {
        run(Command::new(program).arg(argument)).map_err(|problem| {
            Obstacle::Missing(format!(
                "`{program} {argument}` does not work here ({problem}). Install a JDK from 9 on and Maven from 3.6 on, \
                 and put them on the PATH."
            ))
        })?;
    }
    let home = files::profile_dir().join("tmp").join("flamingock-interop");
    fs::create_dir_all(&home).map_err(|error| broken(&home, &error))?;
    // Another test program may be at it.
    let lock = File::create(home.join(format!("{version}.lock"))).map_err(|error| broken(&home, &error))?;
    lock.lock().map_err(|error| broken(&home, &error))?;
    let directory = home.join(version);
    let stamp = directory.join("stamp");
    let fresh = stamp_of(version);
    if fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == fresh) && is_complete(&directory) {
        return Ok(directory);
    }
    // What was removed from the sources would stay in the classes, and the SDK would find it there.
    let _ = fs::remove_dir_all(&directory);
    let many = directory.join("many-sources");
    write_many(&many.join("many/changes")).map_err(|error| broken(&many, &error))?;
    compile(version, &directory, &many)?;
    package(&directory)?;
    fs::write(&stamp, fresh).map_err(|error| broken(&stamp, &error))?;
    Ok(directory)
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop-java")
}

/// Without the network if that is possible: it is faster, and asks nobody.
fn compile(version: &str, directory: &Path, many: &Path) -> Result<(), Obstacle> {
    let mut last = String::new();
    for mode in [&["-o"][..], &[]] {
        let mut maven = Command::new("mvn");
        maven
            .args(["-q", "-B", "-Dstyle.color=never"])
            .args(mode)
            .arg(format!("-Dflamingock.version={version}"))
            .arg(format!("-Dinterop.build={}", directory.display()))
            .arg(format!("-Dmany.sources={}", many.display()))
            .arg("compile")
            .current_dir(sources())
            .env("MAVEN_OPTS", "-XX:TieredStopAtLevel=1");
        match run(&mut maven) {
            Ok(()) => return Ok(()),
            Err(problem) => last = problem,
        }
        if last.contains("COMPILATION ERROR") {
            break;
        }
    }
    let missing: Vec<&str> = last
        .lines()
        .filter(|line| NOT_SERVED.iter().any(|words| line.contains(words)))
        .collect();
    if missing.is_empty() || last.contains("COMPILATION ERROR") {
        return Err(Obstacle::Broken(last));
    }
    Err(Obstacle::Missing(format!(
        "Maven cannot get version {version} or something that it needs:\n{}\nReach a registry that has it; or compile it \
         from its public source with tests/interop-java/sdk-from-source, which says how.",
        missing.join("\n")
    )))
}

/// `app.jar` in each module, and a class path that has no directories: a class archive allows none.
fn package(directory: &Path) -> Result<(), Obstacle> {
    let modules = fs::read_dir(directory).map_err(|error| broken(directory, &error))?;
    for module in modules.flatten().map(|module| module.path()) {
        let paths = module.join("classpath");
        let (Ok(dependencies), true) = (fs::read_to_string(&paths), module.join("classes").is_dir()) else {
            continue;
        };
        let mut jar = Command::new("jar");
        jar.arg("cf").arg(module.join("app.jar"));
        jar.arg("-C").arg(module.join("classes")).arg(".");
        run(&mut jar).map_err(Obstacle::Broken)?;
        let jars = std::env::split_paths(dependencies.trim())
            .map(|path| {
                if path.ends_with("classes") {
                    path.with_file_name("app.jar")
                } else {
                    path
                }
            })
            .chain([module.join("app.jar")]);
        let jars = std::env::join_paths(jars).expect("no path has a separator in it");
        fs::write(&paths, jars.as_encoded_bytes()).map_err(|error| broken(&paths, &error))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(Output { stdout, stderr, .. }) => Err([stdout, stderr]
            .map(|text| String::from_utf8_lossy(&text).trim().to_owned())
            .join("\n")),
        Err(error) => Err(error.to_string()),
    }
}

/// What the classes are made from.
fn stamp_of(version: &str) -> String {
    files::digest(&[&sources()], &format!("{version} {MANY}"))
}

/// Whether everything that it was compiled with is still in the local repository.
fn is_complete(directory: &Path) -> bool {
    let modules = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = modules.filter_map(|module| fs::read_to_string(module.path().join("classpath")).ok());
    // That of the parent is empty.
    paths
        .filter(|paths| !paths.is_empty())
        .all(|paths| std::env::split_paths(&paths).all(|path| path.exists()))
}

/// The changes of the module `many`: classes, as people write them.
fn write_many(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    for number in 1..=MANY {
        let class = format!("_{number:04}__Change{number}");
        let source = format!(
            r#"package many.changes;

import interop.Effects;
import io.flamingock.api.annotations.Apply;
import io.flamingock.api.annotations.Change;
import io.flamingock.api.annotations.TargetSystem;

@TargetSystem(id = "shell")
@Change(id = "change-{number}", author = "mara")
public class {class} {{
    @Apply
    public void apply(Effects effects) {{
        effects.apply("change-{number}");
    }}
}}
"#
        );
        fs::write(directory.join(format!("{class}.java")), source)?;
    }
    Ok(())
}

fn broken(at: &Path, error: &std::io::Error) -> Obstacle {
    Obstacle::Broken(format!("{}: {error}", at.display()))
}
