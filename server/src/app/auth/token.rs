//! The text of an API token: `flk_`, 256 random bits, a checksum.
//!
//! The prefix lets secret scanners find a leaked one (`flk_[a-z2-7]{59}`); the checksum lets them, and us, tell it
//! from noise and from a mistyped one without asking the database.

use std::fmt;

use data_encoding::{Encoding, Specification};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

pub const PREFIX: &str = "flk_";
/// 32 bytes in base32.
const BODY: usize = 52;
/// Characters of the body that are shown: 30 bits of 256.
const HINT: usize = 6;
/// 4 bytes in base32.
const CHECKSUM: usize = 7;

/// A well-formed API token. Whether it opens anything only the database knows.
#[derive(Clone)]
pub struct ApiToken(SecretString);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFormatError {
    #[error("an API token starts with `{PREFIX}`")]
    Prefix,
    #[error("an API token has {} letters a-z and digits 2-7 after `{PREFIX}`", BODY + CHECKSUM)]
    Shape,
    #[error("the checksum does not fit: the token looks mistyped or cut")]
    Checksum,
}

impl ApiToken {
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system has random bytes");
        let body = format!("{PREFIX}{}", alphabet().encode(&bytes));
        let checksum = checksum(&body);
        Self(format!("{body}{checksum}").into())
    }

    pub fn parse(text: &str) -> Result<Self, TokenFormatError> {
        let rest = text.strip_prefix(PREFIX).ok_or(TokenFormatError::Prefix)?;
        if rest.len() != BODY + CHECKSUM || !rest.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')) {
            return Err(TokenFormatError::Shape);
        }
        let (body, end) = text.split_at(PREFIX.len() + BODY);
        if checksum(body) != end {
            return Err(TokenFormatError::Checksum);
        }
        Ok(Self(text.into()))
    }

    /// The token itself: for the one time that it is shown.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The first characters: enough for people to tell their tokens apart, too little to help anybody guess.
    pub fn hint(&self) -> &str {
        &self.expose()[..PREFIX.len() + HINT]
    }

    /// What the database keeps. The token is random enough that a slow hash would protect nothing.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken([redacted])")
    }
}

fn alphabet() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification
        .encoding()
        .expect("32 different symbols, no padding")
}

fn checksum(body: &str) -> String {
    alphabet().encode(&crc32(body.as_bytes()).to_be_bytes())
}

/// CRC-32 as in zip and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_generated_token_parses_and_is_unlike_any_other() {
        let tokens: Vec<_> = (0..100).map(|_| ApiToken::generate()).collect();
        for token in &tokens {
            assert_eq!(token.expose().len(), PREFIX.len() + BODY + CHECKSUM);
            let parsed = ApiToken::parse(token.expose()).expect("it was just generated");
            assert_eq!(parsed.sha256(), token.sha256());
        }
        let texts: std::collections::HashSet<_> = tokens.iter().map(ApiToken::expose).collect();
        assert_eq!(texts.len(), tokens.len());
    }

    #[test]
    fn every_single_wrong_swapped_or_missing_character_is_noticed() {
        let token = ApiToken::generate();
        let text = token.expose();
        for at in 0..text.len() {
            for other in "abcdefghijklmnopqrstuvwxyz234567_A1 ".chars() {
                let mut wrong: Vec<char> = text.chars().collect();
                if wrong[at] == other {
                    continue;
                }
                wrong[at] = other;
                assert!(
                    ApiToken::parse(&wrong.iter().collect::<String>()).is_err(),
                    "{at} {other}"
                );
            }
            let mut swapped = text.as_bytes().to_vec();
            if at > 0 && swapped[at] != swapped[at - 1] {
                swapped.swap(at, at - 1);
                assert!(
                    ApiToken::parse(std::str::from_utf8(&swapped).expect("ASCII")).is_err(),
                    "{at}"
                );
            }
            assert!(ApiToken::parse(&text[..at]).is_err());
        }
        assert!(matches!(
            ApiToken::parse(&format!("{text}a")),
            Err(TokenFormatError::Shape)
        ));
        assert!(matches!(
            ApiToken::parse(&format!(" {text}")),
            Err(TokenFormatError::Prefix)
        ));
        assert!(matches!(
            ApiToken::parse(&format!("{PREFIX}ünïcödé")),
            Err(TokenFormatError::Shape)
        ));
    }

    #[test]
    fn debug_does_not_print_it() {
        let token = ApiToken::generate();
        assert!(!format!("{token:?}").contains(&token.expose()[4..10]));
    }
}
