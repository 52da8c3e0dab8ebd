//! Clients that take their answer slowly, of a provider that breaks off when nobody takes any more: all that it had said is theirs, and
//! behind it the break is told as ever.

use super::{CHAT, PATIENCE, World, everywhere, print};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Room at the client; what there is between it and the provider is the gateway's, and the kernel's.
const ROOM_BYTES: usize = 64 << 10;
/// It takes nothing for so long: all room is taken, and the provider breaks off. Less than after which it would be gone.
const PAUSE: Duration = Duration::from_millis(500);
/// And then so much at a time.
const SIP_BYTES: usize = 256 << 10;
const BETWEEN: Duration = Duration::from_millis(2);

impl World {
    pub(super) async fn slowly_taken(&self) -> Result<()> {
        let asked = everywhere(&["breaks-when-full"]).map(|(path, provider, model)| async move {
            let route = format!("{provider}-{model}");
            let text = timeout(PATIENCE, self.sip(path, &route))
                .await
                .with_context(|| format!("{path} {route}: it hangs"))??;
            let what = format!("{path} {route}: {} bytes, the last of them {:?}", text.len(), tail(&text));
            let last = text.trim_end().rsplit("data: ").next().unwrap_or_default();
            let error: Value = serde_json::from_str(last).with_context(|| what.clone())?;
            ensure!(error["error"]["message"].is_string(), "{what}");
            ensure!(path == CHAT || text.contains("event: error\n"), "{what}");
            ensure!(!text.contains("[DONE]") && !text.contains("message_stop"), "it has no end: {what}");
            let came = text.matches("half of it").count();
            ensure!(came > 9 && text.contains(&format!("\"half of it, {came}: ")), "{came} pieces: {what}");
            anyhow::Ok((format!("{path} {provider}"), came))
        });
        let came = try_join_all(asked).await?;
        let said = self.seen.said();
        let mut taken: Vec<usize> = came.iter().map(|(_, pieces)| *pieces).collect();
        taken.sort_unstable();
        ensure!(taken == said, "of {said:?} pieces that were said, clients got {came:?}");
        print(&format!("slow clients got all of what came before a break, {said:?} pieces, and the error behind it"));
        Ok(())
    }

    /// What a client gets that takes it in sips.
    async fn sip(&self, path: &str, route: &str) -> Result<String> {
        let mut connector = HttpConnector::new();
        connector.set_recv_buffer_size(Some(ROOM_BYTES));
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let body = json!({"model": route, "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "hello"}]});
        let request = Request::post(format!("http://127.0.0.1:{}{path}", self.coalmine.port))
            .header("content-type", "application/json")
            .header("x-session-id", "slow")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let mut answer = client.request(request).await?;
        ensure!(answer.status() == 200, "{path} {route}: {}", answer.status());
        sleep(PAUSE).await;
        let (mut text, mut sip) = (Vec::new(), 0);
        while let Some(frame) = answer.body_mut().frame().await {
            let data = frame.with_context(|| format!("{path} {route}, behind {} bytes", text.len()))?;
            let data = data.into_data().unwrap_or_default();
            text.extend_from_slice(&data);
            sip += data.len();
            if sip > SIP_BYTES {
                sip = 0;
                sleep(BETWEEN).await;
            }
        }
        Ok(String::from_utf8(text)?)
    }
}

fn tail(text: &str) -> String {
    let end: Vec<char> = text.chars().rev().take(200).collect();
    end.into_iter().rev().collect()
}
