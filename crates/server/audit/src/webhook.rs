//! The webhook backend: batches of events, posted to a server that a kubeconfig names.
//!
//! A batch that was not taken is sent again four times with growing pauses, whatever the reason was; then it is lost.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use env::Env;
use outbound::{Config, ConfigError, Hook};

/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Tries in all.
const TRIES_MAX: u32 = 5;
const PAUSE_FACTOR: f64 = 1.5;
const PAUSE_JITTER: f64 = 0.2;

/// A server that takes events.
pub struct Webhook {
    hook: Hook,
    env: Env,
    /// Pause before the second try.
    pause: Duration,
}

impl Webhook {
    /// The server and the user of a kubeconfig's current context.
    ///
    /// # Errors
    /// When URL, certificates or keys in the configuration cannot be used.
    pub fn new(config: Config, initial_backoff: Duration, env: Env) -> Result<Webhook, ConfigError> {
        let hook = Hook::new(config, TIMEOUT, env.clone())?;
        Ok(Webhook { hook, env, pause: initial_backoff })
    }

    pub(crate) async fn send(&self, events: &[Bytes]) -> Result<(), String> {
        let body = list(events);
        let (mut pause, mut tries) = (self.pause, 0);
        loop {
            tries += 1;
            match self.hook.tell(body.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if tries == TRIES_MAX => return Err(error.to_string()),
                Err(_) => self.env.sleep(self.env.random.jitter(pause, PAUSE_JITTER)).await,
            }
            pause = pause.mul_f64(PAUSE_FACTOR);
        }
    }
}

/// An EventList of events that are JSON already.
fn list(events: &[Bytes]) -> Bytes {
    let mut body = BytesMut::with_capacity(events.iter().map(|event| event.len() + 1).sum::<usize>() + 80);
    body.put_slice(br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#);
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.put_u8(b',');
        }
        body.put_slice(event);
    }
    body.put_slice(b"]}\n");
    body.freeze()
}
