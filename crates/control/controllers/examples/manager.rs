//! Runs every controller against any API server: what kube-controller-manager is to a cluster, for development.
//!
//! `manager KUBECONFIG [CLUSTER_CIDR]`. The user of the kubeconfig must be allowed to impersonate: each controller acts
//! as its own service account.

use std::path::Path;
use std::sync::Arc;

use call::Transport;
use client::remote::{Config, Impersonate, Remote};
use env::Env;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let kubeconfig = arguments.first().ok_or("usage: manager KUBECONFIG [CLUSTER_CIDR]")?;
    telemetry::init_logs(&std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into()))?;
    let base = Config::from_kubeconfig(Path::new(kubeconfig), None)?;
    let root_ca =
        String::from_utf8_lossy(base.certificate_authority.as_deref().unwrap_or_default()).into_owned();
    let mut transports = std::collections::HashMap::<String, Arc<dyn Transport>>::new();
    let accounts =
        controllers::TABLE.iter().map(|entry| format!("system:serviceaccount:kube-system:{}", entry.account));
    for user in accounts.chain(["system:kube-controller-manager".to_owned()]) {
        let mut groups = vec!["system:authenticated".to_owned()];
        if user.starts_with("system:serviceaccount:") {
            groups.extend([
                "system:serviceaccounts".to_owned(),
                "system:serviceaccounts:kube-system".to_owned(),
            ]);
        }
        let config = Config {
            impersonate: Some(Impersonate { user: user.clone(), uid: String::new(), groups }),
            user_agent: "kube-controller-manager/v1.36.0".into(),
            ..base.clone()
        };
        transports.insert(user, Arc::new(Remote::new(config)?));
    }
    let reader = transports["system:kube-controller-manager"].clone();
    let running = controllers::run(controllers::Config {
        transports: Box::new(move |user| transports.get(user).unwrap_or(&reader).clone()),
        env: Env::real(),
        cluster_cidr: arguments.get(1).map_or("10.244.0.0/16", String::as_str).parse().ok(),
        root_ca: root_ca.into(),
        signing: None,
        legacy_tokens: None,
        extensions: Arc::new(controllers::Extensions::default),
        enabled: Box::new(|_| true),
    });
    running.synced().await;
    println!("all caches are in sync");
    std::future::pending::<()>().await;
    Ok(())
}
