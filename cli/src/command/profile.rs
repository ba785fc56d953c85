//! Where to and as whom: stored under names.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::context::{self, Context};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::GOOD;
use crate::profiles::{self, DEFAULT, Profile, Profiles};
use crate::prompt;
use crate::reach::{self, Wanted};
use crate::table::{Cell, Table};

#[derive(Debug, Args)]
pub struct Login {
    /// Name of the profile
    #[arg(value_name = "PROFILE")]
    name: Option<String>,
    /// Store it without asking the server whether the token is good and the names are right
    #[arg(long, alias = "no-check")]
    offline: bool,
}

/// Stored servers and tokens
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// The profiles; tokens are not shown
    #[command(visible_alias = "ls")]
    List,
    /// Use this profile where none is named
    Use {
        /// Its name
        name: String,
    },
    /// Forget a profile and its token. The token itself stays good: `token revoke` ends it
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name
        name: String,
    },
}

/// A profile as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProfileView<'a> {
    name: &'a str,
    current: bool,
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    organisation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
}

impl Login {
    pub async fn run(self, context: &Context) -> Outcome {
        let global = &context.global;
        let name = self
            .name
            .or_else(|| global.profile.clone())
            .unwrap_or_else(|| DEFAULT.to_owned());
        profiles::check_name(&name)?;
        let mut stored = Profiles::load()?;
        let before = stored.profiles.get(&name);
        let server = global
            .server
            .clone()
            .or_else(|| before.map(|profile| profile.server.clone()))
            .ok_or_else(|| Failure::usage("no server is named").hint("flamingock login --server URL"))?;
        let kept = |new: &Option<String>, old: fn(&Profile) -> &Option<String>| {
            new.clone()
                .or_else(|| before.and_then(|profile| old(profile).clone()))
        };
        let wanted = Wanted {
            organisation: kept(&global.organisation, |profile| &profile.organisation),
            project: kept(&global.project, |profile| &profile.project),
            environment: kept(&global.environment, |profile| &profile.environment),
            service: kept(&global.service, |profile| &profile.service),
        };
        let token = match context.shown_token()? {
            Some((token, _)) => token,
            None => prompt::secret("API token (not shown): ")?,
        };
        if token.is_empty()
            || token.contains(|character: char| character.is_whitespace() || character.is_control())
        {
            return Err(Failure::usage("that is no API token: it is one word")
                .hint("paste it at the prompt, or give it with FLAMINGOCK_TOKEN or --token-file"));
        }
        let admin = context::admin(&server, &token)?;
        if !self.offline {
            let identity = admin.identity().await?;
            reach::check(&admin, &wanted).await.map_err(nothing_stored)?;
            context.out.note(&format!(
                "The server knows this token as {} ({}).",
                crate::text::safe(&identity.name, false),
                identity.role
            ));
        }
        stored.profiles.insert(
            name.clone(),
            Profile {
                server,
                token,
                organisation: wanted.organisation,
                project: wanted.project,
                environment: wanted.environment,
                service: wanted.service,
            },
        );
        stored.current = Some(name.clone());
        let path = stored.store()?;
        context.out.note(&format!(
            "{GOOD}Stored{GOOD:#} as profile {name} in {}, readable by you only.",
            path.display()
        ));
        if context.out.is_json() {
            print(context, &stored)?;
        }
        Ok(Exit::Ok)
    }
}

fn nothing_stored(failure: Failure) -> Failure {
    let hint = failure
        .hint_text()
        .map(|hint| format!("{hint} "))
        .unwrap_or_default();
    failure.hint(format!(
        "{hint}(nothing was stored; --offline stores names unseen, of what is yet to be made)"
    ))
}

impl ProfileCommand {
    pub fn run(self, context: &Context) -> Outcome {
        let mut profiles = Profiles::load()?;
        match self {
            Self::List => print(context, &profiles)?,
            Self::Use { name } => {
                profiles.get(&name)?;
                profiles.current = Some(name.clone());
                profiles.store()?;
                context
                    .out
                    .note(&format!("{name} is used where no profile is named."));
            }
            Self::Remove { name } => {
                profiles.get(&name)?;
                prompt::confirm(
                    &format!("Forget profile {name} and its token?"),
                    context.global.yes,
                )?;
                profiles.profiles.remove(&name);
                if profiles.current.as_deref() == Some(&name) {
                    profiles.current = None;
                }
                profiles.store()?;
                context.out.note(&format!("{name} is forgotten."));
            }
        }
        Ok(Exit::Ok)
    }
}

fn print(context: &Context, profiles: &Profiles) -> Result<(), Failure> {
    let views = profiles.profiles.iter().map(|(name, profile)| ProfileView {
        name,
        current: profiles.current.as_ref() == Some(name),
        server: &profile.server,
        organisation: profile.organisation.as_deref(),
        project: profile.project.as_deref(),
        environment: profile.environment.as_deref(),
        service: profile.service.as_deref(),
    });
    if context.out.is_json() {
        let views: Vec<_> = views.collect();
        return context.out.json(&serde_json::json!({ "profiles": views }));
    }
    let mut table = Table::new(&[
        "PROFILE",
        "CURRENT",
        "SERVER",
        "PROJECT",
        "ENVIRONMENT",
        "SERVICE",
    ]);
    for view in views {
        table.row([
            view.name.into(),
            if view.current {
                Cell::styled("yes", GOOD)
            } else {
                Cell::from("")
            },
            view.server.into(),
            match (view.organisation, view.project) {
                (Some(organisation), Some(project)) if !project.contains('/') => {
                    format!("{organisation}/{project}").into()
                }
                (Some(organisation), None) => format!("{organisation}/…").into(),
                (_, project) => project.into(),
            },
            view.environment.into(),
            view.service.into(),
        ]);
    }
    context.out.table(
        &table,
        "There are no profiles. `flamingock login --server URL` makes one.",
    )
}
