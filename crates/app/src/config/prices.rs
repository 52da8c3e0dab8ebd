//! `prices` of `coalmine.yaml`: read into the wire's own quotes, and written back.

use crate::config::fault::Complaint;
use crate::config::read::Fields;
use coalmine_wire::prices::{LongInput, Price, Quote, Rate};

/// Reads the price of one model.
pub(super) fn read(fields: &Fields<'_>) -> Option<Quote> {
    let date = fields.text("as_of").map(|text| text.value.to_owned());
    if let Some(date) = &date
        && !is_date(date)
    {
        let complaint = Complaint::new(format!("`{date}` is no day"), "write the day as 2026-11-30");
        fields.fault("as_of", complaint, None);
    }
    let long = match fields.node("long") {
        Some(_) => {
            let long = fields.section("long")?;
            Some(LongInput { above_input_tokens: long.integer("above")?, rate: rate(&long)? })
        }
        None => None,
    };
    Some(Quote { price: Price { rate: rate(fields)?, long }, date })
}

fn rate(fields: &Fields<'_>) -> Option<Rate> {
    Some(Rate {
        input_usd: fields.money("input")?,
        cached_input_usd: fields.money("cached_input"),
        cache_write_usd: fields.money("cache_write"),
        cache_write_1h_usd: fields.money("cache_write_1h"),
        output_usd: fields.money("output")?,
        reasoning_usd: fields.money("reasoning"),
        audio_input_usd: fields.money("audio_input"),
        audio_output_usd: fields.money("audio_output"),
        image_input_usd: fields.money("image_input"),
        image_output_usd: fields.money("image_output"),
    })
}

/// `{ input: $2, output: $8 }`, as [`read`] takes it.
pub(super) fn written(quote: &Quote) -> String {
    let mut parts = rates(&quote.price.rate);
    if let Some(long) = &quote.price.long {
        let rates = rates(&long.rate).join(", ");
        parts.push(format!("long: {{ above: {}, {rates} }}", long.above_input_tokens));
    }
    parts.extend(quote.date.as_ref().map(|date| format!("as_of: \"{date}\"")));
    format!("{{ {} }}", parts.join(", "))
}

fn rates(rate: &Rate) -> Vec<String> {
    let parts = [
        ("input", Some(rate.input_usd)),
        ("cached_input", rate.cached_input_usd),
        ("cache_write", rate.cache_write_usd),
        ("cache_write_1h", rate.cache_write_1h_usd),
        ("output", Some(rate.output_usd)),
        ("reasoning", rate.reasoning_usd),
        ("audio_input", rate.audio_input_usd),
        ("audio_output", rate.audio_output_usd),
        ("image_input", rate.image_input_usd),
        ("image_output", rate.image_output_usd),
    ];
    parts.into_iter().filter_map(|(key, usd)| usd.map(|usd| format!("{key}: ${usd}"))).collect()
}

/// `2026-11-30`.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, digits: usize| {
        part.parse::<u32>().ok().filter(|_| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let [year, month, day] = parts[..] else { return false };
    number(year, 4).is_some()
        && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
}
