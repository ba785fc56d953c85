//! What people call things, and how many they have.

use flamingock_tests::{Java, TestServer};

use crate::{applied, effects, recorded};

const RATES: &str = "règle 100%+TVA/été";
const RATE: &str = "a b/c+d %2F=ñ";

async fn names_with_accents_spaces_and_signs_arrive_as_they_are(java: &'static Java) {
    let server = TestServer::start().await;
    let service = "boutique d'été 100%+1/2";
    let application = java.application("names").with("SERVICE", service);
    for _ in 0..2 {
        application.serves(&server.url()).await;
        assert_eq!(application.effects(), effects(&[RATES, RATE]));
        let (runner, operator) = (server.runner(service).await, server.operator());
        assert!(operator.verification(&runner).await.intact);
        let entries = operator.audit(&runner).await;
        let lines: Vec<_> = entries
            .iter()
            .map(|entry| format!("{} {}", entry.change_id, entry.state))
            .collect();
        assert_eq!(lines, applied(&[RATES, RATE]));
        for entry in &entries {
            assert_eq!(entry.stage_id.as_deref(), Some("schéma à jour, 100%+1/2"));
            let author = if entry.change_id == RATES {
                "Zoë Müller + Söhne / 5%"
            } else {
                "Ñandú"
            };
            assert_eq!(entry.author.as_deref(), Some(author));
        }
    }
}

async fn five_hundred_changes_are_applied_once_and_in_order(java: &'static Java) {
    let server = TestServer::start().await;
    let application = java.application("many");
    let changes: Vec<String> = (1..=500).map(|number| format!("change-{number}")).collect();
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    for _ in 0..2 {
        application.serves(&server.url()).await;
        assert_eq!(application.effects(), effects(&changes));
        assert_eq!(recorded(&server).await, applied(&changes));
    }
}

with_each_sdk!(
    names_with_accents_spaces_and_signs_arrive_as_they_are,
    five_hundred_changes_are_applied_once_and_in_order,
);
