//! Who the token belongs to, and what it reaches.

use flamingock::wire::identity::IdentityView;

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::output::BOLD;
use crate::sheet::Sheet;
use crate::table::Table;
use crate::time;

pub async fn run(context: &Context) -> Outcome {
    let target = context.target()?;
    let identity = context.admin()?.identity().await?;
    if context.out.is_json() {
        context.out.json(&identity)?;
        return Ok(Exit::Ok);
    }
    context
        .out
        .print(&sheet(&identity, &target.server, &target.token_source))?;
    Ok(Exit::Ok)
}

fn sheet(identity: &IdentityView, server: &str, source: &str) -> String {
    let mut sheet = Sheet::default();
    sheet.title(&identity.name, BOLD, &format!("({})", identity.role));
    sheet.fact("server", server);
    sheet.fact(
        "token",
        format!("number {}, from {source}", identity.credential_id),
    );
    let organisation = identity.organisation.as_ref().map(|one| one.name.as_str());
    sheet.fact("organisation", organisation.unwrap_or("all of the server"));
    if let Some(end) = identity.expires_at {
        sheet.fact("ends", time::shown(end, Context::now()));
    }
    let mut table = Table::new(&["PROJECT", "ENVIRONMENTS", "SERVICES"]);
    for project in &identity.projects {
        let names = |units: &[flamingock::wire::identity::NamedId]| {
            let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
            names.join(", ")
        };
        table.row([
            format!("{}/{}", project.organisation.name, project.name).into(),
            names(&project.environments).into(),
            names(&project.services).into(),
        ]);
    }
    if table.is_empty() {
        sheet.paragraph("It reaches no project.");
    } else {
        sheet.section("Within reach");
        sheet.table(&table);
    }
    if identity.truncated {
        sheet.paragraph(
            "There is more than is shown: `project list`, `env list` and `service list` have all.",
        );
    }
    sheet.into_text()
}
