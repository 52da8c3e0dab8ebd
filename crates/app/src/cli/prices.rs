//! The prices that a release goes by.

use super::paint::{Paint, Tone};
use coalmine_api::types::{ArmCostsView, CostsView, PriceView, PricesView};
use coalmine_api::when::utc;
use std::fmt::Write as _;

/// What the price list says otherwise by now, a line each.
#[must_use]
pub(super) fn changed_text(prices: &PricesView, paint: Paint) -> String {
    let mut text = String::new();
    for price in prices.models.iter().filter(|price| price.changed) {
        let now = price.now.as_deref().unwrap_or("none");
        let kept = price.price.as_deref().unwrap_or("none, so its cost is unknown");
        let _ = writeln!(
            text,
            "  {} the price of {} is now {now}; this release goes on with that of its beginning: {kept}",
            paint.tone(Tone::Warn, "mind"),
            price.model
        );
    }
    text
}

/// All of them, with their dates.
#[must_use]
pub(super) fn prices_text(prices: &PricesView, paint: Paint) -> String {
    let mut text = format!(
        "\n{}  as of {}, kept to the end in both arms; US dollars for a million tokens\n",
        paint.tone(Tone::Strong, "PRICES"),
        utc(prices.taken_at_ms)
    );
    let width = prices.models.iter().map(|price| price.model.len()).max().unwrap_or(0);
    for price in &prices.models {
        let _ = writeln!(text, "  {:<width$}  {}", price.model, told(price));
    }
    text
}

/// What a request, a session and a task have cost in either arm; nothing before any cost is known.
#[must_use]
pub(super) fn costs_text(costs: &CostsView, paint: Paint) -> String {
    let parts = |arm: &ArmCostsView| {
        let each = [("request", arm.per_request), ("session", arm.per_session), ("task done", arm.per_task)];
        let told = each.into_iter().filter_map(|(what, usd)| usd.map(|usd| format!("{} a {what}", dollars(usd))));
        let told = told.collect::<Vec<_>>().join(", ");
        if told.is_empty() { "unknown".to_owned() } else { told }
    };
    let (canary, control) = (&costs.canary, &costs.control);
    let mut text =
        format!("  {} canary {}; control {}\n", paint.tone(Tone::Dim, "cost:"), parts(canary), parts(control));
    if canary.unknown + control.unknown > 0 {
        let _ = writeln!(
            text,
            "  {} the cost of {} canary and {} control requests is unknown; they are taken to cost what the others do",
            paint.tone(Tone::Dim, "cost:"),
            canary.unknown,
            control.unknown
        );
    }
    text
}

/// Three digits, `$0.00123`.
fn dollars(usd: f64) -> String {
    format!("${}", coalmine_core::release::words::number(usd))
}

fn told(price: &PriceView) -> String {
    let Some(kept) = &price.price else { return "no price: its cost is unknown".to_owned() };
    match &price.as_of {
        Some(date) => format!("{kept} (listed on {date})"),
        None => format!("{kept} (from coalmine.yaml, undated)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_told_as_far_as_they_are_known() {
        let none = ArmCostsView {
            usd: 0.0,
            unknown: 0,
            tasks_done: 0.0,
            per_request: None,
            per_session: None,
            per_task: None,
        };
        let canary = ArmCostsView {
            usd: 1.2,
            unknown: 3,
            tasks_done: 4.0,
            per_request: Some(0.001_234),
            per_session: Some(0.004),
            per_task: Some(0.3),
        };
        insta::assert_snapshot!(costs_text(&CostsView { control: none, canary }, Paint::Plain), @r"
        cost: canary $0.00123 a request, $0.004 a session, $0.3 a task done; control unknown
        cost: the cost of 3 canary and 0 control requests is unknown; they are taken to cost what the others do
        ");
    }

    #[test]
    fn dates_and_changes_are_told() {
        let view = |model: &str, price: Option<&str>, as_of: Option<&str>, now: Option<&str>| PriceView {
            model: model.to_owned(),
            price: price.map(str::to_owned),
            as_of: as_of.map(str::to_owned),
            changed: price != now,
            now: now.map(str::to_owned),
        };
        let prices = PricesView {
            taken_at_ms: 1_767_571_200_000,
            models: vec![
                view("gpt-4.1", Some("$2 read, $8 written"), Some("2026-10-10"), Some("$3 read, $8 written")),
                view("house", None, None, None),
                view("own", Some("$1 read, $4 written"), None, Some("$1 read, $4 written")),
            ],
        };
        insta::assert_snapshot!(
            format!("{}{}", changed_text(&prices, Paint::Plain), prices_text(&prices, Paint::Plain)),
            @r"
          mind the price of gpt-4.1 is now $3 read, $8 written; this release goes on with that of its beginning: $2 read, $8 written

        PRICES  as of 2026-01-05 00:00:00 UTC, kept to the end in both arms; US dollars for a million tokens
          gpt-4.1  $2 read, $8 written (listed on 2026-10-10)
          house    no price: its cost is unknown
          own      $1 read, $4 written (from coalmine.yaml, undated)
        "
        );
    }
}
