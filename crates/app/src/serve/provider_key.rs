//! Providers' keys that may change: read again from their file, or from the command that prints them.

use crate::config::{Machine, Secret};
use coalmine_core::time::SpanMs;
use coalmine_gateway::config::{self, KeyRenewal};
use coalmine_gateway::ports::{Boxed, KeySource, KeyUnread};
use std::sync::Arc;
use std::time::Duration;

/// How often a file is read where nothing is said.
const FILE_EVERY: Duration = Duration::from_secs(5);
/// The same of a command, which may ask a vault.
const COMMAND_EVERY: Duration = Duration::from_mins(5);

/// Where a key came from at the start.
#[derive(Debug)]
struct KeyPlace(Secret);

/// How a key is read anew; `None`: it cannot change.
pub(super) fn renewal(key: &Secret, every: Option<SpanMs>) -> Option<KeyRenewal> {
    let usual = if key.is_of_a_command() { COMMAND_EVERY } else { FILE_EVERY };
    let every = every.map_or(usual, |span| Duration::from_millis(span.0));
    key.may_change().then(|| KeyRenewal { source: Arc::new(KeyPlace(key.clone())), every })
}

impl KeySource for KeyPlace {
    fn read(&self) -> Boxed<'_, Result<config::Secret, KeyUnread>> {
        let key = self.0.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || key.read_again(&Machine)).await;
            let read = read.map_err(|error| KeyUnread(error.to_string()))?;
            read.map(|key| config::Secret::new(key.expose())).map_err(|error| KeyUnread(error.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    #[tokio::test]
    async fn a_file_that_changed_is_the_key_and_a_fixed_one_is_never_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "sk-1\n").unwrap();
        let text = format!(
            "providers: {{ openai: {{ kind: openai, api_key: \"file:{}\" }} }}\n\
             routes: {{ support: {{ stable: {{ model: openai/gpt-4.1 }} }} }}\n",
            path.display()
        );
        let around: &dyn Surroundings = &Machine;
        let read = crate::config::parse_process(&text, &folder.path().join("coalmine.yaml"), around).unwrap();
        let key = read.providers.values().next().unwrap().api_key.clone().unwrap();
        let renewal = renewal(&key, None).unwrap();
        assert_eq!(renewal.every, FILE_EVERY);
        std::fs::write(&path, "sk-2\n").unwrap();
        assert_eq!(renewal.source.read().await.unwrap().expose(), "sk-2");
        std::fs::remove_file(&path).unwrap();
        let error = renewal.source.read().await.unwrap_err().to_string();
        assert!(error.contains("cannot be read") && !error.contains("sk-"), "{error}");
        assert!(!format!("{renewal:?}").contains("sk-"));
        assert!(super::renewal(&Secret::given("fixed"), None).is_none());
    }
}
