//! What answers for AWS.

use std::time::Duration;

use crate::{Fidelity, System};

/// What a service of AWS is tested against: the endpoint that the AWS SDK's own variable names, such as `AWS_ENDPOINT_URL_S3`.
/// Credentials and region are those that the SDK finds.
pub async fn system(name: &'static str, variable: &'static str) -> Option<(System, String)> {
    let url = System::address(name, variable)?;
    let (fidelity, version) = answers(&url).await;
    Some((System::new(name, fidelity, version), url))
}

async fn answers(url: &str) -> (Fidelity, String) {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .expect("a client without settings");
    for (path, program) in [
        ("_ministack/health", "ministack"),
        ("_localstack/health", "LocalStack"),
    ] {
        let answer = client.get(format!("{url}/{path}")).send().await;
        if let Ok(answer) = answer
            && answer.status().is_success()
            && let Ok(health) = answer.json::<serde_json::Value>().await
            && health.get("services").is_some()
        {
            let version = health["version"].as_str().unwrap_or("");
            return (Fidelity::Emulator, format!("{program} {version}"));
        }
    }
    if url.contains(".amazonaws.com") {
        return (Fidelity::Real, "AWS".to_owned());
    }
    let answer = client.get(url).send().await.ok();
    let server = answer.as_ref().and_then(|answer| answer.headers().get("server"));
    let server = server.and_then(|server| server.to_str().ok()).unwrap_or("?");
    let fidelity = if server.starts_with("SeaweedFS") {
        Fidelity::Real
    } else {
        Fidelity::Emulator
    };
    (fidelity, server.to_owned())
}

/// A zip archive with one file, not compressed: what Lambda takes as code.
pub fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let short = |number: usize| u16::try_from(number).expect("a short name").to_le_bytes();
    let long = |number: usize| u32::try_from(number).expect("a small file").to_le_bytes();
    let mut common = Vec::new();
    common.extend([20, 0, 0, 0, 0, 0]); // version, flags, stored
    common.extend([0, 0, 0x21, 0x58]); // noon of no particular day
    common.extend(crc32(content).to_le_bytes());
    common.extend([long(content.len()), long(content.len())].concat());
    common.extend([short(name.len()), short(0)].concat());

    let mut archive = b"PK\x03\x04".to_vec();
    archive.extend_from_slice(&common);
    archive.extend([name.as_bytes(), content].concat());
    let directory = archive.len();
    archive.extend(b"PK\x01\x02\x14\x03");
    archive.extend(&common);
    archive.extend([0; 6]); // no comment, first disk, no attributes
    archive.extend(0o100_644_u32.wrapping_shl(16).to_le_bytes());
    archive.extend(long(0));
    archive.extend(name.as_bytes());
    let length = archive.len() - directory;
    archive.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    archive.extend([long(length), long(directory)].concat());
    archive.extend(short(0));
    archive
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
