//! `ferrokube certs`: how long the cluster's certificates still hold, and new ones before they end.
//!
//! A running server renews by itself and follows the files, so that nothing here needs it to be stopped.

use std::path::Path;

use anyhow::{Context, Result, bail};
use time::OffsetDateTime;

use crate::options::Settings;
use crate::paths::Paths;
use crate::pki::{self, AUTHORITIES, LEAVES, Pki};

/// What to do with certificates.
#[derive(clap::Subcommand, Debug)]
pub enum CertsCommand {
    /// Show how long each certificate still holds; fails if one is over or missing
    #[command(
        alias = "check-expiration",
        after_help = "A running server renews each certificate by itself from the day in the column RENEWED FROM on. \
                      Authorities hold ten years and are not renewed: `ferrokube reset` makes new ones."
    )]
    Check,
    /// Make a certificate anew, or all of them, now
    #[command(
        after_help = "A running server, its kubelet and the kubeconfigs of this machine take the new certificates at once. \
                      Copies of the kubeconfig on other machines keep the old certificate, which holds until it ends. \
                      Authorities and the key of ServiceAccount tokens stay."
    )]
    Renew {
        /// A name as `check` shows it, or `all`
        name: String,
    },
    /// Sign ServiceAccount tokens with a new key from now on
    #[command(
        after_help = "Tokens that the old key signed hold on, and the server's key set (/openid/v1/jwks) shows both keys. \
                      Pods get new tokens within the hour; when every token of the old key is over or replaced (legacy \
                      tokens in Secrets: delete the Secrets), end the old key with --forget-old."
    )]
    RotateServiceAccountKey {
        /// Make no new key, but refuse from now on what older keys than the present one have signed
        #[arg(long)]
        forget_old: bool,
    },
}

/// Performs a command.
///
/// # Errors
/// When there is no cluster, no certificate of that name, or a file cannot be read or written.
pub fn run(command: &CertsCommand, paths: &Paths) -> Result<()> {
    let folder = paths.pki();
    if !folder.exists() {
        bail!("there is no cluster in {}; start one with: ferrokube up", paths.data().display());
    }
    match command {
        CertsCommand::Check => check(&folder, OffsetDateTime::now_utc()),
        CertsCommand::Renew { name } => renew(paths, name),
        CertsCommand::RotateServiceAccountKey { forget_old: false } => {
            pki::rotate_service_account_key(&folder)?;
            println!("ServiceAccount tokens are signed with a new key; the old one still verifies");
            Ok(())
        }
        CertsCommand::RotateServiceAccountKey { forget_old: true } => {
            let keys = pki::forget_retired_keys(&folder)?;
            println!("{keys} retired keys of ServiceAccount tokens forgotten");
            Ok(())
        }
    }
}

fn check(folder: &Path, now: OffsetDateTime) -> Result<()> {
    let leaves = LEAVES.map(|(name, authority)| Row::read(folder, name, authority, now));
    let authorities = AUTHORITIES.map(|name| Row::read(folder, name, "", now));
    let leaves = leaves.into_iter().collect::<Result<Vec<_>>>()?;
    let authorities = authorities.into_iter().collect::<Result<Vec<_>>>()?;
    let heads =
        ["CERTIFICATE", "SUBJECT", "EXPIRES", "RESIDUAL TIME", "RENEWED FROM", "CERTIFICATE AUTHORITY"];
    print!("{}", table(&heads, leaves.iter().map(Row::leaf).collect()));
    println!();
    let heads = ["CERTIFICATE AUTHORITY", "SUBJECT", "EXPIRES", "RESIDUAL TIME"];
    print!("{}", table(&heads, authorities.iter().map(Row::authority).collect()));
    let over: Vec<&str> =
        leaves.iter().chain(&authorities).filter(|row| !row.holds).map(|row| row.name.as_str()).collect();
    if !over.is_empty() {
        bail!("over or missing: {}", over.join(", "));
    }
    Ok(())
}

fn renew(paths: &Paths, name: &str) -> Result<()> {
    let known = LEAVES.map(|(known, _)| known);
    let wanted: Vec<&str> = known.into_iter().filter(|known| name == "all" || *known == name).collect();
    if wanted.is_empty() {
        bail!("there is no certificate {name:?}; there are {} and all", known.join(", "));
    }
    let options = crate::up::remembered(paths)?
        .with_context(|| format!("there is no cluster in {}", paths.data().display()))?;
    let settings = Settings::resolve(options, paths.data())?;
    let now = OffsetDateTime::now_utc();
    let pki = Pki::renew(&paths.pki(), &crate::up::names(&settings)?, now, &wanted)?;
    if wanted.contains(&"admin") {
        crate::up::refresh_kubeconfigs(&settings, &pki)?;
    }
    for name in wanted {
        println!("certificate {name} renewed");
    }
    Ok(())
}

/// What is shown of one certificate.
#[derive(Debug)]
struct Row {
    name: String,
    subject: String,
    expires: String,
    residual: String,
    renewed: String,
    authority: String,
    holds: bool,
}

impl Row {
    fn read(folder: &Path, name: &str, authority: &str, now: OffsetDateTime) -> Result<Row> {
        let path = folder.join(format!("{name}.crt"));
        let mut row = Row {
            name: name.to_owned(),
            subject: String::new(),
            expires: "!MISSING!".to_owned(),
            residual: String::new(),
            renewed: String::new(),
            authority: authority.to_owned(),
            holds: false,
        };
        let text = env::read_optional(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(text) = text else { return Ok(row) };
        let damaged = || format!("{} holds no certificate", path.display());
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).ok().with_context(damaged)?;
        let (_, certificate) =
            x509_parser::parse_x509_certificate(&pem.contents).ok().with_context(damaged)?;
        let ends = pki::ends(&text).with_context(damaged)?;
        row.subject = certificate.subject().to_string();
        row.expires = date(ends);
        row.residual = residual((ends - now).whole_seconds());
        row.renewed = date(pki::renewed_from(ends));
        row.holds = now < ends;
        Ok(row)
    }

    fn leaf(&self) -> Vec<String> {
        let cells =
            [&self.name, &self.subject, &self.expires, &self.residual, &self.renewed, &self.authority];
        cells.map(Clone::clone).into()
    }

    fn authority(&self) -> Vec<String> {
        [&self.name, &self.subject, &self.expires, &self.residual].map(Clone::clone).into()
    }
}

/// A moment as kubeadm shows it: `Nov 28, 2027 21:40 UTC`.
fn date(at: OffsetDateTime) -> String {
    let month = &at.month().to_string()[..3];
    format!("{month} {:02}, {} {:02}:{:02} UTC", at.day(), at.year(), at.hour(), at.minute())
}

/// Time that is left, in its largest unit.
fn residual(seconds: i64) -> String {
    const YEAR_DAYS: i64 = 365;
    match (seconds / 86_400, seconds / 3_600, seconds / 60) {
        _ if seconds <= 0 => "<invalid>".to_owned(),
        (days, ..) if days >= YEAR_DAYS => format!("{}y", days / YEAR_DAYS),
        (days, ..) if days > 0 => format!("{days}d"),
        (_, hours, _) if hours > 0 => format!("{hours}h"),
        (_, _, minutes) => format!("{minutes}m"),
    }
}

/// Rows in columns.
fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    let rows: Vec<_> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   "));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Names;

    #[test]
    fn each_certificate_has_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names { node: "n1".into(), addresses: vec![], domain: "cluster.local".into() };
        let now = OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap();
        Pki::open(dir.path(), &names, now).unwrap();
        check(dir.path(), now).unwrap();
        let rows =
            LEAVES.map(|(name, authority)| Row::read(dir.path(), name, authority, now).unwrap().leaf());
        let two = vec![vec!["a".to_owned(), "b".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&["X", "Y"], two), "X      Y\na      b\nlong\n");
        for (row, (name, authority)) in rows.iter().zip(LEAVES) {
            assert_eq!((row[0].as_str(), row[5].as_str()), (name, authority));
            assert!(row[1].contains("CN="), "{row:?}");
            assert_eq!(row[2], "Mar 17, 2031 17:46 UTC");
            assert_eq!(row[3], "1y");
        }
        let late = now + time::Duration::days(400);
        assert_eq!(Row::read(dir.path(), "admin", "ca", late).unwrap().residual, "<invalid>");
        assert!(
            check(dir.path(), late).unwrap_err().to_string().starts_with("over or missing: admin, apiserver")
        );
        std::fs::remove_file(dir.path().join("kubelet.crt")).unwrap();
        assert_eq!(check(dir.path(), now).unwrap_err().to_string(), "over or missing: kubelet");
        std::fs::write(dir.path().join("kubelet.crt"), "nonsense").unwrap();
        assert!(check(dir.path(), now).is_err());
    }

    #[test]
    fn what_is_left_is_told_in_its_largest_unit() {
        for (seconds, text) in
            [(-5, "<invalid>"), (59, "0m"), (7_300, "2h"), (86_400, "1d"), (400 * 86_400, "1y")]
        {
            assert_eq!(residual(seconds), text);
        }
    }
}
