//! Renews the cluster's certificates while it runs, before they end.
//!
//! The files are all that has to change: whoever uses them follows them. Kubeconfigs hold a copy of the administrator's
//! certificate and are written again with it.

use std::time::Duration;

use anyhow::Result;
use env::Env;
use time::OffsetDateTime;

use crate::options::Settings;
use crate::pki::Pki;

/// Looked at once a day at least: the time that a machine sleeps does not count for timers.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Pause after a failure, such as a full disk.
const PAUSE: Duration = Duration::from_secs(15 * 60);

/// Renews what is due, for as long as it is polled. `pki` is what was there at the start.
pub(crate) async fn keep(settings: Settings, pki: Pki, env: Env) {
    let (mut due, mut admin) = (pki.due(), pki.admin.certificate_pem);
    loop {
        env.sleep(pause(due, now(&env))).await;
        if now(&env) < due {
            continue;
        }
        match renew(&settings, &admin, now(&env)) {
            Ok(pki) => {
                due = pki.due();
                admin = pki.admin.certificate_pem;
                tracing::info!(next = %due, "certificates were renewed");
            }
            Err(error) => {
                tracing::error!("certificates cannot be renewed: {error:#}");
                env.sleep(PAUSE).await;
            }
        }
    }
}

fn now(env: &Env) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(env.unix_ms().div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// How long nothing is to be done.
fn pause(due: OffsetDateTime, now: OffsetDateTime) -> Duration {
    Duration::try_from(due - now).unwrap_or_default().min(DAY)
}

fn renew(settings: &Settings, admin: &str, now: OffsetDateTime) -> Result<Pki> {
    let pki = Pki::open(&settings.paths.pki(), &crate::up::names(settings)?, now)?;
    if pki.admin.certificate_pem != admin {
        crate::up::refresh_kubeconfigs(settings, &pki)?;
    }
    Ok(pki)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::UpOptions;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: UpOptions,
    }

    #[tokio::test]
    async fn certificates_and_kubeconfigs_are_renewed_before_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let Line { options } = clap::Parser::parse_from(["up", "--no-node", "--node-name", "n"]);
        let settings = Settings::resolve(options, dir.path()).unwrap();
        let (env, clock) = Env::simulated(1);
        let names = crate::up::names(&settings).unwrap();
        let pki = Pki::open(&settings.paths.pki(), &names, now(&env)).unwrap();
        let (old, first) = (pki.admin.certificate_pem.clone(), pki.due());
        crate::up::refresh_kubeconfigs(&settings, &pki).unwrap();
        let held = |path| std::fs::read_to_string(path).unwrap();
        let (kubeconfig, file) = (settings.paths.admin_kubeconfig(), settings.paths.pki().join("admin.crt"));
        let before = held(&kubeconfig);
        let renewing = tokio::spawn(keep(settings, pki, env.clone()));
        let mut days = 0;
        while now(&env) < first {
            // The task has run up to its timer before time goes on.
            while clock.next_timer().is_none() {
                tokio::task::yield_now().await;
            }
            assert_eq!(held(&file), old, "renewed after {days} days");
            clock.advance(DAY);
            tokio::task::yield_now().await;
            days += 1;
        }
        while clock.next_timer().is_none() {
            tokio::task::yield_now().await;
        }
        assert_ne!(held(&file), old);
        assert_ne!(held(&kubeconfig), before);
        assert_eq!(days, 244);
        renewing.abort();
    }
}
