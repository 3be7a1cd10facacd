//! Lifecycle hooks: postStart and preStop.

use std::net::IpAddr;
use std::time::Duration;

use types::core::v1::{Container, LifecycleHandler};

use crate::backend::ContainerRuntime;
use crate::probe::check::{address, connect_error, host_or, port};
use crate::probe::http;

/// Runs a hook to its end.
///
/// # Errors
/// In words for the `FailedPostStartHook` or `FailedPreStopHook` event.
pub async fn run(
    runtime: &dyn ContainerRuntime,
    env: &env::Env,
    container_id: &str,
    container: &Container,
    ip: Option<IpAddr>,
    handler: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let args: Vec<String> = exec.command.iter().map(|w| w.to_string()).collect();
        let shown = args.join(" ");
        return match runtime.exec_sync(container_id, args, Duration::ZERO).await {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => Err(format!(
                "Exec lifecycle hook ([{shown}]) for Container \"{}\" failed - error: command '{shown}' exited with {}: {}, message: {:?}",
                container.name,
                output.exit_code,
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout),
            )),
            Err(error) => Err(format!(
                "Exec lifecycle hook ([{shown}]) for Container \"{}\" failed - error: {error}",
                container.name
            )),
        };
    }
    if let Some(get) = &handler.http_get {
        let request = http::Request::new(get, container, ip)?.for_hook();
        return match http::get(&request).await {
            Ok(response) if response.status < 400 => Ok(()),
            Ok(response) => Err(format!(
                "HTTP lifecycle hook ({}) for Container \"{}\" failed - error: HTTP hook failed with statuscode: {}",
                get.path, container.name, response.status
            )),
            Err(why) => Err(format!(
                "HTTP lifecycle hook ({}) for Container \"{}\" failed - error: {why}",
                get.path, container.name
            )),
        };
    }
    if let Some(tcp) = &handler.tcp_socket {
        let (host, port) = (host_or(&tcp.host, ip), port(&tcp.port, container)?);
        let connected = tokio::net::TcpStream::connect((host.as_str(), port)).await;
        return connected
            .map(drop)
            .map_err(|e| format!("dial tcp {}: {}", address(&host, port), connect_error(&e)));
    }
    if let Some(sleep) = &handler.sleep {
        env.sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("Invalid handler: must specify a handler type".into())
}
