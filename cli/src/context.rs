//! Where to, as whom, about which service: from flags, the environment and the profile, in this order.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::ArgMatches;
use clap::parser::ValueSource;
use flamingock::admin::{Admin, AdminConfig};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::Output;
use crate::profiles::{self, Profile, Profiles};
use crate::reach::{self, Named, Service, Wanted};

pub const TOKEN_VARIABLE: &str = "FLAMINGOCK_TOKEN";

pub struct Context {
    pub global: Global,
    pub flags: Flags,
    pub out: Output,
}

/// What was named on the command line itself, and not by a variable.
#[derive(Clone, Debug, Default)]
pub struct Flags(Vec<&'static str>);

impl Flags {
    const ALL: [&'static str; 4] = ["organisation", "project", "environment", "service"];

    pub fn of(matches: &ArgMatches) -> Self {
        let is_flag = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        Self(Self::ALL.into_iter().filter(is_flag).collect())
    }

    pub fn name(&self, what: &str) -> bool {
        self.0.contains(&what)
    }
}

/// A name that a command is limited to.
pub struct Limit {
    pub what: &'static str,
    pub name: String,
    /// Where it comes from, for people.
    pub source: String,
}

/// Where to and as whom.
pub struct Target {
    pub server: String,
    pub token: String,
    /// Where the token came from, for people.
    pub token_source: String,
    pub profile: Option<(String, Profile)>,
}

impl Context {
    pub fn new(global: Global, flags: Flags, out: Output) -> Self {
        Self { global, flags, out }
    }

    pub fn now() -> DateTime<Utc> {
        Utc::now()
    }

    pub fn admin(&self) -> Result<Admin, Failure> {
        let target = self.target()?;
        admin(&target.server, &target.token)
    }

    /// The service that the command is about.
    pub async fn service(&self, admin: &Admin) -> Result<Service, Failure> {
        reach::service(admin, &self.wanted()?).await
    }

    /// The environment that the command is about.
    pub async fn environment(&self, admin: &Admin) -> Result<Named, Failure> {
        reach::environment(admin, &self.wanted()?).await
    }

    /// What was named, by the profile if not on the command line.
    pub fn wanted(&self) -> Result<Wanted, Failure> {
        let mut wanted = Wanted::default();
        for limit in self.limits()? {
            let named = match limit.what {
                "organisation" => &mut wanted.organisation,
                "project" => &mut wanted.project,
                "environment" => &mut wanted.environment,
                _ => &mut wanted.service,
            };
            *named = Some(limit.name);
        }
        Ok(wanted)
    }

    /// The organisation that was named.
    pub fn organisation(&self) -> Result<Option<String>, Failure> {
        Ok(self.wanted()?.organisation)
    }

    /// What was named, and by whom: by a flag, a variable or the profile.
    pub fn limits(&self) -> Result<Vec<Limit>, Failure> {
        type OfProfile = fn(&Profile) -> &Option<String>;
        let profile = self.target()?.profile;
        let global = &self.global;
        let named: [(&'static str, &Option<String>, OfProfile); 4] = [
            ("organisation", &global.organisation, |profile| {
                &profile.organisation
            }),
            ("project", &global.project, |profile| &profile.project),
            ("environment", &global.environment, |profile| &profile.environment),
            ("service", &global.service, |profile| &profile.service),
        ];
        Ok(named
            .into_iter()
            .filter_map(|(what, said, of_profile)| {
                let (name, source) = match (said, &profile) {
                    (Some(name), _) if self.flags.name(what) => (name.clone(), format!("--{what}")),
                    (Some(name), _) => (name.clone(), format!("FLAMINGOCK_{}", what.to_uppercase())),
                    (None, Some((profile_name, profile))) => {
                        (of_profile(profile).clone()?, format!("profile {profile_name}"))
                    }
                    (None, None) => return None,
                };
                Some(Limit { what, name, source })
            })
            .collect())
    }

    /// Server and token, for a runner.
    pub fn credentials(&self) -> Result<(String, String), Failure> {
        let target = self.target()?;
        Ok((target.server, target.token))
    }

    pub fn target(&self) -> Result<Target, Failure> {
        let profile = self.profile()?;
        let shown = self.shown_token()?;
        let server = match (&self.global.server, &profile) {
            (Some(server), _) => server.clone(),
            (None, Some((_, profile))) => profile.server.clone(),
            (None, None) => {
                return Err(Failure::usage("no server is named")
                    .hint("`flamingock login` makes a profile; or use --server and FLAMINGOCK_TOKEN"));
            }
        };
        let (token, token_source) = match (shown, &profile) {
            (Some(shown), _) => shown,
            (None, Some((name, stored))) => {
                // A token is shown to the server that it was stored for, and to no other.
                if !same_server(&stored.server, &server) {
                    return Err(Failure::usage(format!(
                        "the token of profile {name} is for {}, not for {server}",
                        stored.server
                    ))
                    .hint(
                        "give a token with FLAMINGOCK_TOKEN or --token-file, or `flamingock login` there",
                    ));
                }
                (stored.token.clone(), format!("profile {name}"))
            }
            (None, None) => {
                return Err(Failure::usage("no API token is given").hint(
                    "`flamingock login` stores one; or set FLAMINGOCK_TOKEN, or name a file with --token-file",
                ));
            }
        };
        Ok(Target {
            server,
            token,
            token_source,
            profile,
        })
    }

    /// The token that the command line or the environment gives.
    pub fn shown_token(&self) -> Result<Option<(String, String)>, Failure> {
        if let Some(path) = &self.global.token_file {
            let token = profiles::token_file(path)?;
            return Ok(Some((token, format!("file {}", path.display()))));
        }
        match std::env::var(TOKEN_VARIABLE) {
            Ok(token) if token.trim().is_empty() => Ok(None),
            Ok(token) => Ok(Some((token.trim().to_owned(), TOKEN_VARIABLE.to_owned()))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Failure::usage(format!("{TOKEN_VARIABLE} is not a text")))
            }
        }
    }

    fn profile(&self) -> Result<Option<(String, Profile)>, Failure> {
        if let Some(name) = &self.global.profile {
            let profiles = Profiles::load()?;
            return Ok(Some((name.clone(), profiles.get(name)?.clone())));
        }
        // Whoever names server and token needs no profile, and is not stopped by one that cannot be read.
        if self.global.server.is_some() && self.shown_token()?.is_some() {
            return Ok(None);
        }
        let profiles = Profiles::load()?;
        match &profiles.current {
            Some(name) => Ok(Some((name.clone(), profiles.get(name)?.clone()))),
            None => Ok(None),
        }
    }
}

/// A client that gives up soon: a person waits for it.
pub fn admin(server: &str, token: &str) -> Result<Admin, Failure> {
    let config = AdminConfig {
        retry_for: Duration::from_secs(5),
        ..AdminConfig::new(server, token)
    };
    Admin::new(config).map_err(Failure::usage)
}

fn same_server(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}
