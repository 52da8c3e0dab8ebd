//! A provider's key that changes while the gateway runs.
use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::Ending;
use coalmine_gateway::Exposition;
use coalmine_gateway::config::{Config, KeyRenewal, ProviderKind, Secret};
use coalmine_gateway::ports::{Boxed, KeySource, KeyUnread};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Gives these keys one after the other, the last for ever; `None` cannot be read.
#[derive(Clone, Default)]
struct Vault {
    keys: Arc<Mutex<VecDeque<Option<&'static str>>>>,
    readings: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    fn of(keys: &[Option<&'static str>]) -> Self {
        Self { keys: Arc::new(Mutex::new(keys.iter().copied().collect())), readings: Arc::default() }
    }

    fn readings(&self) -> usize {
        self.readings.load(Ordering::SeqCst)
    }
}

impl KeySource for Vault {
    fn read(&self) -> Boxed<'_, Result<Secret, KeyUnread>> {
        self.readings.fetch_add(1, Ordering::SeqCst);
        let mut keys = self.keys.lock().unwrap();
        let key = if keys.len() > 1 { keys.pop_front().unwrap() } else { keys[0] };
        Box::pin(async move { key.map(Secret::new).ok_or_else(|| KeyUnread("the vault is shut".to_owned())) })
    }
}

async fn world(stable: Vec<Vec<Step>>, vault: &Vault, every: Duration) -> World {
    let source = Arc::new(vault.clone());
    let change = move |config: &mut Config| {
        let provider = config.providers.get_mut(&ProviderName::from("one")).unwrap();
        provider.renewal = Some(KeyRenewal { source, every });
    };
    let world = World::with(stable, vec![], change).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    world
}

fn shown(world: &World) -> Vec<String> {
    world.stable.received().iter().map(|asked| asked.header("authorization").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_refused_key_is_read_anew_and_the_client_is_answered() {
    let vault = Vault::of(&[Some("key-new")]);
    let world = world(vec![error(401, ""), ok("yes")], &vault, Duration::ZERO).await;
    let answer = world.chat("a", ASK).await;
    assert_eq!((answer.status, answer.text().contains("yes")), (200, true));
    assert_eq!(shown(&world), ["Bearer key-one", "Bearer key-new"]);
    let turns = world.turns(1).await;
    assert_eq!(turns[0].outcome.ending, Ending::Complete, "a key that changed is no failure of the version");
    assert_eq!(world.chat("a", ASK).await.status, 200);
    assert_eq!((vault.readings(), shown(&world).last().unwrap().as_str()), (1, "Bearer key-new"));
    assert!(world.metric(r#"coalmine_provider_key_reads_total{provider="one",result="changed"} 1"#));
    assert!(!world.gateway.render_metrics(Exposition::Text).contains("key-new"));
    assert!(!format!("{:?}", world.gateway).contains("key-new"));
}

#[tokio::test]
async fn many_refusals_lead_to_one_reading_and_the_clients_see_them() {
    let vault = Vault::of(&[Some("key-one")]);
    let world = world(vec![error(401, "")], &vault, Duration::ZERO).await;
    let both = tokio::join!(world.chat("a", ASK), world.chat("b", ASK));
    assert_eq!((both.0.status, both.1.status), (401, 401));
    assert_eq!((vault.readings(), world.stable.count()), (1, 2), "the same key is not shown twice");
    assert!(world.metric(r#"coalmine_provider_key_reads_total{provider="one",result="same"} 1"#));
}

#[tokio::test]
async fn a_key_that_cannot_be_read_leaves_the_earlier_one() {
    let vault = Vault::of(&[None]);
    let world = world(vec![error(401, ""), ok("yes")], &vault, Duration::ZERO).await;
    assert_eq!(world.chat("a", ASK).await.status, 401);
    assert_eq!(world.chat("a", ASK).await.status, 200);
    assert_eq!(shown(&world), ["Bearer key-one", "Bearer key-one"]);
    assert!(world.metric(r#"coalmine_provider_key_reads_total{provider="one",result="failed"} 1"#));
}

#[tokio::test]
async fn a_key_is_read_in_its_interval_before_anybody_refuses_it() {
    let vault = Vault::of(&[Some("two\nlines"), Some("key-new")]);
    let source = Arc::new(vault.clone());
    let change = move |config: &mut Config| {
        let provider = config.providers.get_mut(&ProviderName::from("one")).unwrap();
        provider.kind = ProviderKind::Anthropic;
        provider.renewal = Some(KeyRenewal { source, every: Duration::from_millis(1) });
    };
    let world = World::with(vec![ok("yes")], vec![], change).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    soon("the new key", async {
        loop {
            world.send(world.request("/v1/messages", &[], ASK)).await;
            let last = world.stable.received().pop().unwrap();
            if last.header("x-api-key") == Some("key-new") {
                break;
            }
            assert_eq!(last.header("x-api-key"), Some("key-one"), "what is no key is not shown");
        }
    })
    .await;
    assert!(world.metric(r#"coalmine_provider_key_reads_total{provider="one",result="failed"} 1"#));
}
