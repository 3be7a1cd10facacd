//! Webhooks that a kubeconfig names: a JSON question is posted to the server's very URL, and the answer is JSON.
//!
//! What may pass by itself (the server is overloaded or restarting) is tried again, five times in all with pauses of half a
//! second and growing, as upstream's webhooks of authentication, authorization and image policies do.

use std::time::Duration;

use bytes::Bytes;
use env::Env;
use futures::future::{Either, select};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{Request, StatusCode};
use serde_json::Value as Json;

use crate::caller::Caller;
use crate::connection::ConnectionError;
use crate::kubeconfig::{Config, ConfigError};
use crate::words;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 3 << 20;
/// Tries in all.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_FACTOR: f64 = 1.5;
const PAUSE_JITTER: f64 = 0.2;

/// Why a webhook gave no answer. The texts are those of upstream's client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The server was not reached. Trying again at once does not help.
    #[error("{0}")]
    Unreached(String),
    /// The connection broke with the question under way. Worth another try.
    #[error("{0}")]
    Broken(String),
    /// No answer came in time.
    #[error("{0}")]
    TimedOut(String),
    /// The server refused; worth another try if it says so or is overloaded.
    #[error("{text}")]
    Refused {
        /// The status.
        code: u16,
        /// What upstream's client makes of it.
        text: String,
        /// Whether the server named a time to come back.
        later: bool,
    },
    /// The answer makes no sense.
    #[error("{0}")]
    Garbage(String),
}

impl HookError {
    fn worth_another(&self) -> bool {
        match self {
            HookError::Broken(_) => true,
            HookError::Refused { code, later, .. } => *later || matches!(code, 429 | 500 | 504),
            _ => false,
        }
    }
}

/// One try, for metrics.
#[derive(Debug)]
pub struct Try<'a> {
    /// The status of the answer, if one came.
    pub code: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// Why it failed.
    pub failure: Option<&'a HookError>,
}

/// A webhook.
pub struct Hook {
    caller: Caller,
    env: Env,
    timeout: Duration,
    /// Before the second try.
    pause: Duration,
    /// The URL as messages show it.
    url: String,
}

impl Hook {
    /// The server and the user of a kubeconfig's current context.
    ///
    /// # Errors
    /// When URL, certificates or keys in the configuration cannot be used.
    pub fn new(mut config: Config, timeout: Duration, env: Env) -> Result<Self, ConfigError> {
        let bare = config.server.parse::<http::Uri>().is_ok_and(|uri| uri.path() == "/");
        let slash = if bare && !config.server.ends_with('/') { "/" } else { "" };
        let mark = if config.server.contains('?') { '&' } else { '?' };
        let url = format!("{}{slash}{mark}timeout={}", config.server, go_duration(timeout));
        config.server.clone_from(&url);
        Ok(Hook { caller: Caller::new(config)?, env, timeout, pause: PAUSE, url })
    }

    /// With another pause before the second try.
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Asks, and asks again if that may help. `seen` is told of every try.
    ///
    /// # Errors
    /// The last try's.
    pub async fn ask(&self, question: &Json, mut seen: impl FnMut(Try<'_>)) -> Result<Json, HookError> {
        let body = Bytes::from(question.to_string());
        let (mut pause, mut tries) = (self.pause, 0);
        loop {
            tries += 1;
            let started = self.env.clock.monotonic();
            let (code, result) = self.once(body.clone()).await;
            let took = self.env.clock.monotonic() - started;
            seen(Try { code, took, failure: result.as_ref().err() });
            match result {
                Err(error) if error.worth_another() && tries < TRIES_MAX => {
                    self.env.sleep(self.env.random.jitter(pause, PAUSE_JITTER)).await;
                    pause = pause.mul_f64(PAUSE_FACTOR);
                }
                result => return result,
            }
        }
    }

    /// Posts a document once. Whatever the server answers is fine, if it is no refusal.
    ///
    /// # Errors
    /// When the server did not take it.
    pub async fn tell(&self, body: Bytes) -> Result<(), HookError> {
        match self.once(body).await {
            (_, Ok(_)) => Ok(()),
            (Some(200..=299), Err(HookError::Garbage(_))) => Ok(()),
            (_, Err(error)) => Err(error),
        }
    }

    async fn once(&self, body: Bytes) -> (Option<u16>, Result<Json, HookError>) {
        let exchange = std::pin::pin!(self.exchange(body));
        match select(exchange, self.env.sleep(self.timeout)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => {
                let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
                (None, Err(HookError::TimedOut(self.failed(why))))
            }
        }
    }

    async fn exchange(&self, body: Bytes) -> (Option<u16>, Result<Json, HookError>) {
        let request = Request::post("/")
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .body(body);
        let Ok(request) = request else { return (None, Err(HookError::Garbage("no request".into()))) };
        let response = match self.caller.send_exact(request).await {
            Ok(response) => response,
            Err(ConnectionError::Dial { reason, .. }) => {
                return (None, Err(HookError::Unreached(self.failed(&reason))));
            }
            Err(ConnectionError::Broken(error)) => {
                return (None, Err(HookError::Broken(self.failed(&words::broken(&error)))));
            }
        };
        let (status, later) = (response.status(), response.headers().contains_key(RETRY_AFTER));
        let code = Some(status.as_u16());
        let answer = match response.into_body().read(ANSWER_BYTES_MAX).await {
            Ok(answer) => answer,
            Err(error) => return (code, Err(HookError::Garbage(error.to_string()))),
        };
        if !status.is_success() {
            let text = refusal(status, &answer);
            return (code, Err(HookError::Refused { code: status.as_u16(), text, later }));
        }
        let read = serde_json::from_slice(&answer).map_err(|error| {
            HookError::Garbage(format!("couldn't get version/kind; json parse error: {error}"))
        });
        (code, read)
    }

    fn failed(&self, why: &str) -> String {
        format!("Post {:?}: {why}", self.url)
    }
}

/// What upstream's client says of an answer that is a refusal.
fn refusal(status: StatusCode, answer: &[u8]) -> String {
    // A Status object tells why by itself.
    if let Ok(object) = serde_json::from_slice::<Json>(answer)
        && object["kind"] == "Status"
        && let Some(message) = object["message"].as_str()
    {
        return message.to_owned();
    }
    let text = String::from_utf8_lossy(answer);
    let text = if text.trim().is_empty() { "unknown" } else { text.trim() };
    words::status(status.as_u16(), text)
}

/// Whole seconds or milliseconds as Go prints a duration.
fn go_duration(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (0, millis) => format!("{millis}ms"),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}s", duration.as_secs_f64()),
    }
}
