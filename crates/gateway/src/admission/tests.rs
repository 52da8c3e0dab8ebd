//! Laws of admission.

use super::*;
use crate::admission::meter::Bound;
use crate::admission::permit::Permit;
use crate::config::{ClientKey, SiteSecret};
use coalmine_core::key::{FreshSecret, Spent, Usd, Used};
use coalmine_core::time::SpanMs;
use coalmine_wire::dialect::Dialect;

const NOW: UnixMs = UnixMs(1_767_571_200_000);

fn admission(change: impl FnOnce(&mut Config)) -> Admission {
    let mut config = Config::new("g".into(), SiteSecret([0; 32]), BTreeMap::new());
    change(&mut config);
    Admission::new(&config)
}

fn secret(byte: u8) -> FreshSecret {
    FreshSecret::of([byte; 32])
}

fn shown(secret: &FreshSecret) -> [u8; 32] {
    *blake3::hash(secret.expose().as_bytes()).as_bytes()
}

fn key(name: &str, byte: u8, quota: Quota) -> Key {
    Key { quota, ..Key::new(name.into(), &secret(byte), "ana".into(), NOW) }
}

fn table(generation: u64, keys: Vec<Key>) -> Arc<KeyTable> {
    Arc::new(KeyTable { generation: Generation(generation), keys: Arc::new(keys), spent: Arc::default() })
}

fn take(admission: &Admission, byte: u8, bytes: u64, now: UnixMs) -> Result<Permit, Bound> {
    let holder = admission.holder(Some(&shown(&secret(byte))), now).unwrap();
    Permit::take(&holder, Dialect::Chat, bytes, now).map_err(|(bound, _)| bound)
}

#[test]
fn the_first_key_closes_the_gateway_and_its_revocation_does_not_open_it_again() {
    let admission = admission(|_| {});
    assert!(admission.holder(None, NOW).is_ok() && admission.holder(Some(&[7; 32]), NOW).is_ok());
    let key = key("a", 1, Quota::default());
    admission.install(&table(1, vec![key.clone()]));
    assert!(admission.holder(Some(&shown(&secret(1))), NOW).is_ok());
    assert_eq!(admission.holder(None, NOW).unwrap_err(), Closed::Unknown);
    admission.install(&table(2, vec![key.revoke("ana".into(), NOW)]));
    assert_eq!(admission.holder(Some(&shown(&secret(1))), NOW).unwrap_err(), Closed::Over(Standing::Revoked));
    assert_eq!(admission.holder(Some(&[7; 32]), NOW).unwrap_err(), Closed::Unknown);
    admission.install(&table(1, vec![key]));
    assert!(admission.holder(Some(&shown(&secret(1))), NOW).is_err(), "an older table");
}

#[test]
fn a_key_may_be_asked_for_before_there_is_one() {
    let admission = admission(|config| config.key_need = KeyNeed::Always);
    assert_eq!(admission.holder(None, NOW).unwrap_err(), Closed::Unknown);
}

#[test]
fn keys_of_the_file_and_keys_that_were_made_are_good_side_by_side() {
    let admission = admission(|config| {
        config.client_keys = vec![ClientKey { hash: [5; 32], customer: Some("acme".into()) }];
    });
    admission.install(&table(1, vec![key("a", 1, Quota::default())]));
    assert_eq!(admission.holder(Some(&[5; 32]), NOW).unwrap().customer, Some("acme".into()));
    assert_eq!(admission.holder(Some(&shown(&secret(1))), NOW).unwrap().name, Some("a".into()));
}

#[test]
fn a_session_outlives_the_rotation_of_its_key_and_the_old_secret_its_grace_only() {
    let admission = admission(|_| {});
    let rotated = key("a", 1, Quota::default()).rotate(&secret(2), SpanMs::hours(1), NOW).unwrap();
    admission.install(&table(1, vec![rotated, key("b", 3, Quota::default())]));
    let scope = |byte: u8, at| admission.holder(Some(&shown(&secret(byte))), at).map(|holder| holder.scope);
    assert_eq!(scope(1, NOW), scope(2, NOW));
    assert_ne!(scope(1, NOW), scope(3, NOW));
    let late = NOW + SpanMs::hours(1);
    assert_eq!(scope(1, late), Err(Closed::Over(Standing::Replaced)));
    assert!(scope(2, late).is_ok());
}

#[test]
fn rates_and_requests_at_a_time_go_on_over_a_new_table() {
    let admission = admission(|_| {});
    let quota = Quota { requests_per_minute: Some(2), concurrent: Some(1), ..Quota::default() };
    admission.install(&table(1, vec![key("a", 1, quota)]));
    let first = take(&admission, 1, 0, NOW).unwrap();
    admission.install(&table(2, vec![key("a", 1, quota), key("b", 2, Quota::default())]));
    assert_eq!(take(&admission, 1, 0, NOW).unwrap_err(), Bound::Concurrent);
    drop(first);
    drop(take(&admission, 1, 0, NOW).unwrap());
    assert_eq!(take(&admission, 1, 0, NOW).unwrap_err(), Bound::Requests);
    assert!(take(&admission, 2, 0, NOW).is_ok());
    assert!(take(&admission, 1, 0, NOW + SpanMs::secs(30)).is_ok());
}

#[test]
fn an_payer_that_refuses_takes_nothing_of_the_others() {
    let admission = admission(|config| {
        config.quota = Quota { requests_per_minute: Some(3), tokens_per_minute: Some(800), ..Quota::default() };
        config.customer_quotas = [("acme".into(), Quota { concurrent: Some(2), ..Quota::default() })].into();
    });
    let none = Quota { tokens_per_minute: Some(0), ..Quota::default() };
    let of_acme = |key: Key| Key { customer: Some("acme".into()), ..key };
    admission.install(&table(1, vec![of_acme(key("a", 1, none)), of_acme(key("b", 2, Quota::default()))]));
    for _ in 0..50 {
        assert_eq!(take(&admission, 1, 400, NOW).unwrap_err(), Bound::Tokens);
    }
    let held: Vec<_> = (0..2).map(|_| take(&admission, 2, 400, NOW).unwrap()).collect();
    assert_eq!(take(&admission, 2, 0, NOW).unwrap_err(), Bound::Concurrent, "of the customer");
    drop(held);
    assert!(take(&admission, 2, 0, NOW).is_ok());
    assert_eq!(take(&admission, 2, 0, NOW).unwrap_err(), Bound::Requests, "of everybody");
}

#[test]
fn tokens_are_held_while_a_request_runs_and_then_what_was_used_is_owed() {
    let admission = admission(|_| {});
    let quota = Quota { tokens_per_minute: Some(1_000), ..Quota::default() };
    admission.install(&table(1, vec![key("a", 1, quota)]));
    let held: Vec<_> = (0..8).map(|_| take(&admission, 1, 1 << 20, NOW).unwrap()).collect();
    assert_eq!(take(&admission, 1, 0, NOW).unwrap_err(), Bound::Tokens, "an eighth each");
    drop(held);
    let mut one = take(&admission, 1, 400, NOW).unwrap();
    one.note_answered();
    one.settle(Some(3_000), None, NOW);
    assert_eq!(take(&admission, 1, 0, NOW + SpanMs::secs(119)).unwrap_err(), Bound::Tokens);
    assert!(take(&admission, 1, 0, NOW + SpanMs::secs(121)).is_ok());
}

#[test]
fn a_budget_ends_with_its_day_or_its_month_and_is_that_of_all_gateways() {
    let admission = admission(|_| {});
    let dollars = |n: f64| Some(Usd::from_dollars(n));
    let quota = Quota { per_day: dollars(1.0), per_month: dollars(1.5), ..Quota::default() };
    admission.install(&table(1, vec![key("a", 1, quota)]));
    let mut one = take(&admission, 1, 0, NOW).unwrap();
    one.settle(Some(10), Some(1.0), NOW);
    assert_eq!(take(&admission, 1, 0, NOW).unwrap_err(), Bound::PerDay);
    let tomorrow = NOW + SpanMs::hours(24);
    assert!(take(&admission, 1, 0, tomorrow).is_ok());
    let used = |dollars| Used { cost: Usd::from_dollars(dollars), ..Used::default() };
    let spent = Spent { day: Day::of(tomorrow), of_day: used(0.5), of_month: used(1.5) };
    let mut told = KeyTable::clone(&table(2, vec![key("a", 1, quota)]));
    told.spent = Arc::new(vec![(Payer::Key("a".into()), spent)]);
    admission.install(&Arc::new(told));
    assert_eq!(take(&admission, 1, 0, tomorrow).unwrap_err(), Bound::PerMonth, "others spent it");
    assert!(take(&admission, 1, 0, Day::of(NOW).next_month().begins_at()).is_ok());
}

#[test]
fn what_was_used_is_told_once_for_every_payer() {
    let admission = admission(|_| {});
    let of_acme = Key { customer: Some("acme".into()), ..key("a", 1, Quota::default()) };
    admission.install(&table(1, vec![of_acme]));
    let mut one = take(&admission, 1, 40, NOW).unwrap();
    one.settle(Some(15), Some(0.25), NOW);
    drop(take(&admission, 1, 40, NOW).unwrap());
    let used = Used { requests: 2, tokens: 15, cost: Usd::from_dollars(0.25) };
    let payers = [Payer::Key("a".into()), Payer::Customer("acme".into()), Payer::Tenant];
    let told = payers.map(|payer| Spending { payer, day: Day::of(NOW), used });
    assert_eq!(admission.take(NOW), told);
    assert_eq!(admission.take(NOW), []);
}
