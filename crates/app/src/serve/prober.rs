//! The gateway's probe, as the control plane asks through it.

use async_trait::async_trait;
use bytes::Bytes;
use coalmine_control::ports::{ProbeTrouble, Probed, Prober, Question};
use coalmine_gateway::{Gateway, ProbeError};
use std::fmt;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// Asks on the runtime of the data plane, where the providers' connections live: the control loop's own thread may
/// be busy with a look, and a connection that it drove would stand still meanwhile.
pub(super) struct GatewayProber {
    gateway: Arc<Gateway>,
    runtime: Handle,
}

/// Cancels what nobody waits for any more.
pub(super) struct Cancelled(pub(super) AbortHandle);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl GatewayProber {
    /// Asks on the runtime that this is called on.
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway, runtime: Handle::current() }
    }
}

impl fmt::Debug for GatewayProber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayProber")
    }
}

#[async_trait]
impl Prober for GatewayProber {
    async fn ask(&self, question: &Question) -> Result<Probed, ProbeTrouble> {
        let Question { version, body, wall_limit } = question.clone();
        let gateway = Arc::clone(&self.gateway);
        let asking = self.runtime.spawn(async move { gateway.probe(&version, &Bytes::from(body), wall_limit).await });
        let _cancelled = Cancelled(asking.abort_handle());
        let Ok(answered) = asking.await else {
            return Err(ProbeTrouble::Provider("the question was given up".to_owned()));
        };
        match answered {
            Ok(answer) => {
                Ok(Probed { body: answer.body.to_vec(), latency_ms: answer.latency_ms, cost_usd: answer.cost_usd })
            }
            Err(error @ ProbeError::Trouble(_)) => Err(ProbeTrouble::Provider(error.to_string())),
            Err(
                error @ (ProbeError::NoProvider(_)
                | ProbeError::Version(_)
                | ProbeError::People
                | ProbeError::NoEmbeddings(_)
                | ProbeError::Question(_)
                | ProbeError::Refused(_)),
            ) => Err(ProbeTrouble::Version(error.to_string())),
        }
    }
}
