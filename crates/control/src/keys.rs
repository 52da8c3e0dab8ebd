//! Client keys: made, rotated, bounded, revoked, and told to gateways as tables are; what is used under
//! them is summed here and kept, so that a budget outlives every process.
//!
//! A revocation holds at once, with the store away too: it is told to the gateways first, and written as
//! soon as the store takes it.

use crate::control::Control;
use crate::error::{ControlError, chain};
use crate::known::Known;
use crate::reconcile::Desk;
use crate::view::Commit;
use coalmine_core::id::{Actor, CustomerId, Generation, KeyName, RouteName};
use coalmine_core::key::{Day, FreshSecret, Key, KeyTable, Payer, Quota, Revocation, Spending, Spent, Used, spent};
use coalmine_core::tally::Delta;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_store::StoreError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Whoever changes a key waits for the gateway of this process to admit by it, and no longer than this.
const SERVED_WITHIN: Duration = Duration::from_secs(1);

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its name, which nobody had before.
    pub name: KeyName,
    /// Whose requests these will be.
    pub customer: Option<CustomerId>,
    /// The routes that it may use; `None`: all.
    pub routes: Option<BTreeSet<RouteName>>,
    /// Nothing is admitted from here on.
    pub expires_at: Option<UnixMs>,
    /// How much may be asked.
    pub quota: Quota,
}

/// A key with a secret that is shown this once.
#[derive(Debug)]
pub struct Issued {
    /// The key.
    pub key: Key,
    /// Its new secret.
    pub secret: FreshSecret,
}

/// A key, and what was used under it today and this month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The key.
    pub key: Key,
    /// The sums.
    pub spent: Spent,
    /// Whether the store has it so; a revocation holds without.
    pub committed: bool,
}

/// What this process holds of keys.
#[derive(Debug, Default)]
pub(crate) struct KeyBook {
    /// As stored.
    keys: BTreeMap<KeyName, Key>,
    /// Revocations that hold and are not stored yet.
    revoking: BTreeMap<KeyName, Revocation>,
    /// The days of this month.
    days: BTreeMap<Payer, BTreeMap<Day, Used>>,
    today: Day,
    told: Generation,
    /// As told: the same for as long as nothing of them changes.
    told_keys: Arc<Vec<Key>>,
}

impl KeyBook {
    fn served(&self, key: &Key) -> Key {
        self.revoking.get(&key.name).map_or_else(|| key.clone(), |end| key.revoke(end.by.clone(), end.at))
    }

    fn spent_by(&self, payer: &Payer) -> Spent {
        let days = self.days.get(payer).into_iter().flatten();
        spent(days.map(|(day, used)| (*day, used)), self.today)
    }

    /// Days before this month are in the store, and of no use here.
    fn turn_to(&mut self, today: Day) {
        if today.month() != self.today.month() {
            for days in self.days.values_mut() {
                days.retain(|day, _| *day >= today.month());
            }
            self.days.retain(|_, days| !days.is_empty());
        }
        self.today = today;
    }

    fn table(&mut self, now: UnixMs) -> KeyTable {
        // Grows over restarts too: gateways that run apart remember the last one.
        self.told = Generation(self.told.next().0.max(now.0));
        let spent = self.days.keys().map(|payer| (payer.clone(), self.spent_by(payer))).collect();
        let keys: Vec<Key> = self.keys.values().map(|key| self.served(key)).collect();
        if keys != *self.told_keys {
            self.told_keys = Arc::new(keys);
        }
        KeyTable { generation: self.told, keys: self.told_keys.clone(), spent: Arc::new(spent) }
    }
}

impl Control {
    /// Makes a key. Its secret is in what is returned and nowhere else.
    ///
    /// # Errors
    /// When its name is taken, it names a route that is not known, its quota is nothing, or the store does not answer.
    pub async fn create_key(&self, new: NewKey, by: Actor) -> Result<Issued, ControlError> {
        let unknown = {
            let known = self.known();
            new.routes.iter().flatten().find(|route| !known.routes.contains_key(route)).cloned()
        };
        if let Some(route) = unknown {
            return Err(ControlError::UnknownRoute(route));
        }
        let secret = FreshSecret::of(self.ports.random.secret());
        let NewKey { name, customer, routes, expires_at, quota } = new;
        let fresh = Key::new(name, &secret, by.clone(), self.clock.now());
        let key = Key { customer, routes, expires_at, ..fresh }.with_quota(quota)?;
        self.ask("keeping a key", self.store.create_key(&self.settings.tenant, &key)).await?;
        tracing::info!(key = %key.name, %by, "a client key was made");
        self.keep_key(key.clone()).await;
        Ok(Issued { key, secret })
    }

    /// Gives a key another secret; the present one stays good for `grace`.
    ///
    /// # Errors
    /// When the key is unknown or good no more, somebody else was faster, or the store does not answer.
    pub async fn rotate_key(&self, name: &KeyName, grace: SpanMs, by: &Actor) -> Result<Issued, ControlError> {
        let secret = FreshSecret::of(self.ports.random.secret());
        let key = self.change_key(name, |key, now| key.rotate(&secret, grace, now)).await?;
        tracing::info!(key = %key.name, %by, %grace, "a client key was rotated");
        Ok(Issued { key, secret })
    }

    /// Gives a key another quota.
    ///
    /// # Errors
    /// As [`Self::rotate_key`].
    pub async fn limit_key(&self, name: &KeyName, quota: Quota, by: &Actor) -> Result<Key, ControlError> {
        let key = self.change_key(name, |key, now| key.limit(quota, now)).await?;
        tracing::info!(key = %key.name, %by, ?quota, "a client key's quota was changed");
        Ok(key)
    }

    /// Revokes a key: gateways refuse it at once, whatever the store does.
    ///
    /// # Errors
    /// When the key is unknown. A store that does not answer is no error: the commit is pending then, and
    /// the loop goes on trying, after a restart too.
    pub async fn revoke_key(&self, name: &KeyName, by: Actor) -> Result<(Key, Commit), ControlError> {
        let now = self.clock.now();
        let (revoked, told) = {
            let mut known = self.known();
            let key = known.keys.keys.get(name).ok_or_else(|| ControlError::UnknownKey(name.clone()))?;
            if key.revoked.is_some() {
                return Ok((key.clone(), Commit::Done));
            }
            let key = key.revoke(by.clone(), now);
            known.keys.revoking.entry(name.clone()).or_insert(Revocation { at: now, by: by.clone() });
            (key, self.tell_keys(&mut known, now))
        };
        tracing::info!(key = %name, %by, "a client key was revoked");
        // before the store, which may be away for longer than this process lives
        if let Err(error) = self.ports.brake.keep_revocation(name, &Revocation { at: now, by }).await {
            tracing::warn!(key = %name, %error, "the revocation holds, and a restart before it is written would forget it");
        }
        let commit = match self.write_revocation(name).await {
            Ok(()) => Commit::Done,
            Err(error) => Commit::Pending { why: chain(&error) },
        };
        self.keys_are_served(told).await;
        Ok((revoked, commit))
    }

    /// All keys by name, as they are served, with what was used under each.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyStatus> {
        let today = Day::of(self.clock.now());
        let mut known = self.known();
        known.keys.turn_to(today);
        let book = &known.keys;
        let shown = book.keys.values().map(|key| KeyStatus {
            key: book.served(key),
            spent: book.spent_by(&Payer::Key(key.name.clone())),
            committed: !book.revoking.contains_key(&key.name),
        });
        shown.collect()
    }

    /// What was used today and this month by everybody together.
    #[must_use]
    pub fn spent_by(&self, payer: &Payer) -> Spent {
        let today = Day::of(self.clock.now());
        let mut known = self.known();
        known.keys.turn_to(today);
        known.keys.spent_by(payer)
    }

    /// The newest table of keys; every change is seen by the receiver.
    #[must_use]
    pub fn key_table(&self) -> watch::Receiver<Arc<KeyTable>> {
        self.key_table.subscribe()
    }

    /// The gateway of this process admits by the keys of this generation from now on.
    pub fn acknowledge_keys(&self, generation: Generation) {
        self.keys_served.send_replace(generation);
    }

    /// Keys and this month's spending from the store, as another process may have left them.
    pub(crate) async fn load_keys(&self) -> Result<(), StoreError> {
        let tenant = &self.settings.tenant;
        let now = self.clock.now();
        let keys = self.ask("reading the keys", self.store.keys(tenant)).await?;
        let since = Day::of(now).month();
        let spending = self.ask("reading what was spent", self.store.spending(tenant, since)).await?;
        let mut known = self.known();
        known.keys.keys = keys.into_iter().map(|key| (key.name.clone(), key)).collect();
        known.keys.days.clear();
        for Spending { payer, day, used } in spending {
            known.keys.days.entry(payer).or_default().insert(day, used);
        }
        self.tell_keys(&mut known, now);
        Ok(())
    }

    /// Sums what the deltas say was used, and tells it.
    pub(crate) fn absorb_spending(&self, desk: &mut Desk, deltas: &[Arc<Delta>], now: UnixMs) {
        let mut known = self.known();
        let before = known.keys.today;
        known.keys.turn_to(Day::of(now));
        let mut news = before != known.keys.today;
        for Spending { payer, day, used } in deltas.iter().flat_map(|delta| &delta.spending) {
            *known.keys.days.entry(payer.clone()).or_default().entry(*day).or_default() += *used;
            desk.spent.insert((payer.clone(), *day));
            news = true;
        }
        if news {
            self.tell_keys(&mut known, now);
        }
    }

    /// The days that changed since they were last written.
    pub(crate) fn spending_to_save(&self, desk: &Desk) -> Vec<Spending> {
        let known = self.known();
        let used = |payer: &Payer, day: &Day| known.keys.days.get(payer)?.get(day).copied();
        let changed = desk
            .spent
            .iter()
            .filter_map(|(payer, day)| Some(Spending { payer: payer.clone(), day: *day, used: used(payer, day)? }));
        changed.collect()
    }

    /// What an earlier process could not write: those keys are refused from the start.
    pub(crate) async fn read_revocations(&self) {
        let kept = match self.ports.brake.revocations().await {
            Ok(kept) => kept,
            Err(error) => return tracing::warn!(%error, "revocations of an earlier process cannot be read"),
        };
        for (name, end) in kept {
            let open = {
                let mut known = self.known();
                let open = known.keys.keys.get(&name).is_some_and(|key| key.revoked.is_none());
                if open {
                    known.keys.revoking.insert(name.clone(), end);
                    self.tell_keys(&mut known, self.clock.now());
                }
                open
            };
            if !open {
                self.forget_revocation(&name).await;
            }
        }
    }

    async fn forget_revocation(&self, name: &KeyName) {
        if let Err(error) = self.ports.brake.drop_revocation(name).await {
            // found again at the next start, and dropped then
            tracing::debug!(key = %name, %error, "the note of a revocation is still there");
        }
    }

    /// Writes the revocations that wait for the store.
    pub(crate) async fn retry_revocations(&self) {
        let waiting: Vec<KeyName> = self.known().keys.revoking.keys().cloned().collect();
        for name in waiting {
            match self.write_revocation(&name).await {
                Ok(()) => tracing::info!(key = %name, "its revocation is written"),
                Err(error) => tracing::warn!(key = %name, error = %chain(&error), "its revocation is not written yet"),
            }
        }
    }

    async fn write_revocation(&self, name: &KeyName) -> Result<(), ControlError> {
        for _ in 0..3 {
            let pending = {
                let known = self.known();
                known.keys.keys.get(name).map(|stored| (stored.generation, known.keys.served(stored)))
            };
            let Some((expected, revoked)) = pending else { return Err(ControlError::UnknownKey(name.clone())) };
            let call = self.store.update_key(&self.settings.tenant, expected, &revoked);
            match self.ask("revoking a key", call).await {
                Ok(()) => {
                    {
                        let mut known = self.known();
                        known.keys.keys.insert(name.clone(), revoked);
                        known.keys.revoking.remove(name);
                    }
                    self.forget_revocation(name).await;
                    return Ok(());
                }
                Err(StoreError::KeyChanged { .. }) => self.load_keys().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(ControlError::KeyChanged(name.clone()))
    }

    /// One change of one key, on what the store holds of it.
    async fn change_key<E: Into<ControlError>>(
        &self,
        name: &KeyName,
        change: impl Fn(&Key, UnixMs) -> Result<Key, E>,
    ) -> Result<Key, ControlError> {
        for _ in 0..3 {
            let found = {
                let known = self.known();
                known.keys.keys.get(name).map(|key| known.keys.served(key))
            };
            let key = found.ok_or_else(|| ControlError::UnknownKey(name.clone()))?;
            let next = change(&key, self.clock.now()).map_err(Into::into)?;
            let call = self.store.update_key(&self.settings.tenant, key.generation, &next);
            match self.ask("changing a key", call).await {
                Ok(()) => {
                    self.keep_key(next.clone()).await;
                    return Ok(next);
                }
                Err(StoreError::KeyChanged { .. }) => self.load_keys().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(ControlError::KeyChanged(name.clone()))
    }

    async fn keep_key(&self, key: Key) {
        let told = {
            let mut known = self.known();
            known.keys.keys.insert(key.name.clone(), key);
            self.tell_keys(&mut known, self.clock.now())
        };
        self.keys_are_served(told).await;
    }

    /// Under the lock of what is known, so that what is told later was known later.
    fn tell_keys(&self, known: &mut Known, now: UnixMs) -> Generation {
        known.keys.turn_to(Day::of(now));
        let table = known.keys.table(now);
        let told = table.generation;
        self.key_table.send_replace(Arc::new(table));
        told
    }

    /// Whoever changed a key may use it at once.
    async fn keys_are_served(&self, told: Generation) {
        let mut served = self.keys_served.subscribe();
        let there = served.wait_for(|served| *served >= told || *served == Generation::default());
        if tokio::time::timeout(SERVED_WITHIN, there).await.is_err() {
            tracing::warn!("a change of a key is kept, and this process's gateway has not taken it yet");
        }
    }
}
