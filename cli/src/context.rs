//! Where to, as whom, about which service: from flags, the environment and the profile, in this order.

use std::time::Duration;

use chrono::{DateTime, Utc};
use flamingock::admin::{Admin, AdminConfig};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::Output;
use crate::profiles::{self, Profile, Profiles};
use crate::reach::{self, Named, Service, Wanted};

pub const TOKEN_VARIABLE: &str = "FLAMINGOCK_TOKEN";

pub struct Context {
    pub global: Global,
    pub out: Output,
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
    pub fn new(global: Global, out: Output) -> Self {
        Self { global, out }
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
        let profile = self.target()?.profile.map(|(_, profile)| profile);
        let (project, environment, service) = profile.map_or((None, None, None), |profile| {
            (profile.project, profile.environment, profile.service)
        });
        Ok(Wanted {
            organisation: self.global.organisation.clone(),
            project: self.global.project.clone().or(project),
            environment: self.global.environment.clone().or(environment),
            service: self.global.service.clone().or(service),
        })
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
