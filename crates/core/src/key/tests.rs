//! Laws of keys and of what is spent under them.

use super::*;
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_000_000);

fn secret(byte: u8) -> FreshSecret {
    FreshSecret::of([byte; 32])
}

fn key() -> Key {
    Key::new("acme".into(), &secret(1), "ana".into(), NOW)
}

fn good(key: &Key, at: UnixMs) -> Vec<Standing> {
    key.secrets.iter().map(|secret| secret.standing(key, at)).collect()
}

#[test]
fn a_secret_is_256_bits_of_which_32_are_shown_and_the_rest_kept_by_nobody() {
    let fresh = secret(0xab);
    assert_eq!(fresh.expose(), format!("ck_{}", "ab".repeat(32)));
    let kept = serde_json::to_string(&Key::new("acme".into(), &fresh, "ana".into(), NOW)).unwrap();
    assert!(kept.contains("\"prefix\":\"ck_abababab\""), "{kept}");
    assert!(!kept.contains("ababababab") && !format!("{fresh:?}").contains("ab"), "{kept}");
    assert_eq!(serde_json::from_str::<Key>(&kept).unwrap().secrets[0].hash, KeyHash::of(fresh.expose().as_bytes()));
}

#[test]
fn after_a_rotation_the_old_secret_is_good_for_its_grace() {
    let grace = SpanMs::hours(1);
    let rotated = key().rotate(&secret(2), grace, NOW).unwrap();
    assert_eq!(good(&rotated, NOW), [Standing::Good; 2]);
    assert_eq!(good(&rotated, NOW + grace), [Standing::Replaced, Standing::Good]);
    assert_eq!(rotated.generation, Generation(2));
    let again = rotated.rotate(&secret(3), SpanMs::hours(9), NOW).unwrap();
    assert_eq!(
        good(&again, NOW + grace),
        [Standing::Replaced, Standing::Good, Standing::Good],
        "no grace is lengthened"
    );
    let at_once = again.rotate(&secret(4), SpanMs::ZERO, NOW).unwrap();
    assert_eq!(at_once.secrets.len(), 1, "{at_once:?}");
}

#[test]
fn secrets_in_their_grace_are_bounded() {
    let mut full = key();
    for byte in 2..=4 {
        full = full.rotate(&secret(byte), SpanMs::hours(1), NOW).unwrap();
    }
    assert_eq!(full.rotate(&secret(9), SpanMs::hours(1), NOW), Err(KeyRefused::Crowded("acme".into())));
    assert!(full.rotate(&secret(9), SpanMs::ZERO, NOW).is_ok());
    assert!(full.rotate(&secret(9), SpanMs::hours(1), NOW + SpanMs::hours(1)).is_ok());
}

#[test]
fn a_revoked_or_expired_key_opens_nothing_and_stays_so() {
    let revoked = key().revoke("ben".into(), NOW);
    assert_eq!(good(&revoked, NOW), [Standing::Revoked]);
    assert_eq!(revoked.revoke("cid".into(), NOW + SpanMs::secs(1)), revoked, "the first who did it stands");
    assert_eq!(revoked.rotate(&secret(2), SpanMs::ZERO, NOW), Err(KeyRefused::Revoked("acme".into())));
    let short = Key { expires_at: Some(NOW + SpanMs::secs(1)), ..key() };
    assert_eq!(
        (good(&short, NOW), good(&short, NOW + SpanMs::secs(1))),
        (vec![Standing::Good], vec![Standing::Expired])
    );
    assert_eq!(short.limit(Quota::default(), NOW + SpanMs::secs(1)), Err(KeyRefused::Expired("acme".into())));
}

#[test]
fn a_bound_of_nothing_is_refused() {
    let some = Quota { requests_per_minute: Some(1), per_day: Some(Usd(1)), ..Quota::default() };
    assert_eq!(key().limit(some, NOW).unwrap().quota, some);
    for (nothing, what) in [
        (Quota { requests_per_minute: Some(0), ..some }, "requests a minute"),
        (Quota { tokens_per_minute: Some(0), ..some }, "tokens a minute"),
        (Quota { concurrent: Some(0), ..some }, "requests at a time"),
        (Quota { per_day: Some(Usd::from_dollars(-1.0)), ..some }, "money of a day"),
        (Quota { per_month: Some(Usd::from_dollars(f64::NAN)), ..some }, "money of a month"),
    ] {
        let refused = Err(KeyRefused::Closed { name: "acme".into(), what });
        assert_eq!(key().limit(nothing, NOW), refused);
        assert_eq!(key().with_quota(nothing), refused);
    }
}

#[test]
fn days_and_months_begin_where_the_calendar_says() {
    let day = |text: &str, number| assert_eq!(Day(number).to_string(), text);
    day("1970-01-01", 0);
    day("2000-02-29", 11_016);
    day("2026-11-24", 20_781);
    assert_eq!(Day(20_781).month().to_string(), "2026-11-01");
    assert_eq!(Day(20_781).next_month().to_string(), "2026-12-01");
    assert_eq!(Day(11_016).next_month().to_string(), "2000-03-01");
    assert_eq!(Day::of(UnixMs(86_399_999)), Day(0));
}

proptest! {
    #[test]
    fn every_day_lies_in_its_month_and_before_the_next(number in 0_u64..200_000) {
        let day = Day(number);
        prop_assert!(day.month() <= day && day < day.next_month());
        prop_assert!(day.next_month().0 - day.month().0 >= 28);
        prop_assert!(day.month().to_string().ends_with("-01") && day.next_month().to_string().ends_with("-01"));
        prop_assert_eq!(Day::of(day.begins_at()), day);
    }

    #[test]
    fn a_day_is_part_of_its_month(costs in proptest::collection::vec((0_u64..80, 0_u64..1_000_000), 0..50), today in 40_u64..80) {
        let days: Vec<(Day, Used)> = costs
            .iter()
            .map(|(day, cost)| (Day(*day), Used { requests: 1, tokens: *cost, cost: Usd(*cost) }))
            .collect();
        let sums = spent(days.iter().map(|(day, used)| (*day, used)), Day(today));
        let of_day: u64 = costs.iter().filter(|(day, _)| *day == today).map(|(_, cost)| cost).sum();
        prop_assert_eq!(sums.of_day.cost, Usd(of_day));
        prop_assert!(sums.of_month.cost >= sums.of_day.cost);
        prop_assert!(sums.of_month.cost.0 <= costs.iter().map(|(_, cost)| cost).sum::<u64>());
    }
}
