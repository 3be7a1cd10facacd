//! `ferrokube token`: bootstrap tokens, with which other machines join the cluster.
//!
//! A token is the Secret `kube-system/bootstrap-token-<id>`. Making the first one also opens the cluster to joining: rights
//! and documents that such machines need are published ([`crate::bootstrap`]).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use call::{DeleteOptions, ListOptions};
use client::{Client, remote};
use env::Env;
use meta::{ByteString, Time};
use sha2::{Digest, Sha256};
use types::core::v1::Secret;

use crate::bootstrap::{self, JOINING, Joining};
use crate::options::Settings;
use crate::paths::Paths;
use crate::progress::print_line;
use crate::{kubeconfig, up};

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const PREFIX: &str = "bootstrap-token-";
/// Characters of ids and secrets.
const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// What can be done with bootstrap tokens.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print it
    Create {
        /// How long it holds; 0 for ever
        #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = duration)]
        ttl: Duration,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// Print the command that joins another machine instead
        #[arg(long)]
        print_join_command: bool,
        /// Print a kubeconfig for `ferrokube kubelet --bootstrap-kubeconfig` instead
        #[arg(long, conflicts_with = "print_join_command")]
        print_kubeconfig: bool,
    },
    /// List the tokens, without their secrets
    List,
    /// Delete tokens by id, or by id and secret
    Delete {
        /// Ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = meta::Duration::parse(text).ok().filter(|duration| duration.nanos >= 0);
    Ok(duration.ok_or_else(|| format!("{text:?} is no duration"))?.to_std())
}

/// Runs the command as the cluster's administrator.
///
/// # Errors
/// When there is no cluster in the data directory, or its API refuses.
pub async fn run(command: TokenCommand, paths: &Paths) -> Result<()> {
    let config = remote::Config::from_kubeconfig(&paths.admin_kubeconfig(), None).with_context(|| {
        format!("there is no cluster in {}; start one with: ferrokube up", paths.data().display())
    })?;
    let client = Client::new(Arc::new(remote::Remote::new(config)?));
    match command {
        TokenCommand::Create { ttl, description, print_join_command, print_kubeconfig } => {
            let options = up::remembered(paths)?.context("the cluster's settings are not there")?;
            let joining = Joining::of(&Settings::resolve(options, paths.data())?)?;
            let ca_file = paths.pki().join("ca.crt");
            let ca_pem = std::fs::read_to_string(&ca_file)
                .with_context(|| format!("cannot read {}", ca_file.display()))?;
            bootstrap::publish(&client, &joining, &ca_pem).await?;
            let token = create(&client, &Env::real(), ttl, &description).await?;
            match (print_join_command, print_kubeconfig) {
                (true, _) => print_line(&format!(
                    "ferrokube join {} --token {token} --ca-cert-hash {}",
                    joining.server,
                    pin(ca_pem.as_bytes())?
                )),
                (_, true) => print_line(kubeconfig::of_token(&joining.server, &ca_pem, &token).trim_end()),
                _ => print_line(&token),
            }
        }
        TokenCommand::List => list(&client).await?,
        TokenCommand::Delete { ids } => {
            for id in ids {
                let id = id.split('.').next().unwrap_or_default();
                let secrets = client.namespaced::<Secret>(NAMESPACE);
                secrets.delete(&format!("{PREFIX}{id}"), &DeleteOptions::default()).await?;
                print_line(&format!("bootstrap token {id} deleted"));
            }
        }
    }
    Ok(())
}

async fn create(client: &Client, env: &Env, ttl: Duration, description: &str) -> Result<String> {
    let (id, secret) = (random(env, 6)?, random(env, 16)?);
    let mut object = Secret { type_: TYPE.into(), ..Secret::default() };
    object.metadata.namespace = NAMESPACE.into();
    object.metadata.name = format!("{PREFIX}{id}").into();
    let mut data = vec![
        ("token-id", id.clone()),
        ("token-secret", secret.clone()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("usage-bootstrap-signing", "true".to_owned()),
        ("auth-extra-groups", JOINING.to_owned()),
    ];
    if !ttl.is_zero() {
        let left_s = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let ends = env.unix_ms().div_euclid(1000).saturating_add(left_s);
        data.push(("expiration", Time::from_unix(ends).to_string()));
    }
    if !description.is_empty() {
        data.push(("description", description.to_owned()));
    }
    for (key, value) in data {
        object.data.insert(key, ByteString(value.into_bytes()));
    }
    client.namespaced::<Secret>(NAMESPACE).create(object).await?;
    Ok(format!("{id}.{secret}"))
}

async fn list(client: &Client) -> Result<()> {
    let options = ListOptions { field_selector: format!("type={TYPE}").into(), ..ListOptions::default() };
    let found = client.namespaced::<Secret>(NAMESPACE).list(&options).await?;
    print_line(&format!("{:<8}{:<22}{:<24}{}", "TOKEN", "EXPIRES", "USAGES", "DESCRIPTION"));
    for secret in found.items {
        let text = |key: &str| {
            let value = secret.data.get(key).map(|value| value.0.as_slice()).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        let expires = Some(text("expiration")).filter(|text| !text.is_empty());
        let usages: Vec<&str> = ["authentication", "signing"]
            .into_iter()
            .filter(|usage| text(&format!("usage-bootstrap-{usage}")) == "true")
            .collect();
        print_line(&format!(
            "{:<8}{:<22}{:<24}{}",
            text("token-id"),
            expires.as_deref().unwrap_or("<never>"),
            usages.join(","),
            text("description")
        ));
    }
    Ok(())
}

/// Characters that nobody can guess.
fn random(env: &Env, length: usize) -> Result<String> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 32];
    while text.len() < length {
        env.random.fill_secret(&mut bytes).context("the machine gives no randomness")?;
        // 252 is the largest multiple of 36 in a byte: every letter is as likely as any other.
        let fair = bytes.iter().filter(|byte| **byte < 252).map(|byte| LETTERS[usize::from(*byte) % 36]);
        text.extend(fair.take(length - text.len()).map(char::from));
    }
    Ok(text)
}

/// What kubeadm calls the pin of an authority: the hash of the key in its certificate.
///
/// # Errors
/// When the text holds no certificate.
pub(crate) fn pin(pem: &[u8]) -> Result<String> {
    pins(pem)?.into_iter().next().context("no certificate of an authority")
}

/// The pins of all certificates of a text.
///
/// # Errors
/// When the text holds no certificate.
pub(crate) fn pins(pem: &[u8]) -> Result<Vec<String>> {
    let mut pins = Vec::new();
    for block in x509_parser::pem::Pem::iter_from_buffer(pem) {
        let block = block.context("a damaged certificate of an authority")?;
        let certificate = block.parse_x509().context("a damaged certificate of an authority")?;
        let digest = Sha256::digest(certificate.public_key().raw);
        pins.push(format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    }
    ensure!(!pins.is_empty(), "no certificate of an authority");
    Ok(pins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_form_and_are_not_repeated() {
        let env = Env::real();
        let made: Vec<String> =
            (0..50).map(|_| format!("{}.{}", random(&env, 6).unwrap(), random(&env, 16).unwrap())).collect();
        for token in &made {
            let (id, secret) = token.split_once('.').unwrap();
            assert_eq!((id.len(), secret.len()), (6, 16));
            assert!(id.bytes().chain(secret.bytes()).all(|byte| LETTERS.contains(&byte)), "{token}");
        }
        let different: std::collections::BTreeSet<_> = made.iter().collect();
        assert_eq!(different.len(), made.len());
    }

    #[test]
    fn pins_are_hashes_of_keys() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let again = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let pin = pin(certificate.as_bytes()).unwrap();
        assert_eq!(pin.len(), "sha256:".len() + 64);
        assert_eq!(pins(again.as_bytes()).unwrap(), [pin], "the key counts, not the certificate");
        assert!(pins(b"nonsense").is_err());
    }
}
