//! How much of its words an answer shares with a text. Words are runs of letters and digits, and their case does not
//! count; promptfoo's own tokenizers differ in punctuation, so a threshold is better taken from `coalmine sentinel run`.
//!
//! Sources: ROUGE-N (Lin 2004), recall of n = 1; BLEU (Papineni and others 2002) of up to four words, with one added to
//! both counts above single words (Lin and Och 2004), so that short answers are not all 0.

use std::collections::HashMap;

/// The longest sequence of words that BLEU compares.
const BLEU_ORDER: usize = 4;

/// The share of the reference's words that the text has, each as often as it has it; 0 without a reference.
pub(super) fn rouge_1(text: &str, reference: &str) -> f64 {
    let (text, reference) = (words(text), words(reference));
    let wanted = counts(&reference, 1);
    share(matched(&counts(&text, 1), &wanted), reference.len())
}

/// How precisely the text says what one of the references says, 0 to 1.
pub(super) fn bleu(text: &str, references: &[String]) -> f64 {
    let text = words(text);
    let references: Vec<Vec<String>> = references.iter().map(|reference| words(reference)).collect();
    let orders = BLEU_ORDER.min(text.len());
    if orders == 0 || references.is_empty() {
        return 0.0;
    }
    let mut log = 0.0;
    for order in 1..=orders {
        let own = counts(&text, order);
        let best =
            references.iter().map(|reference| counts(reference, order)).fold(HashMap::new(), |mut best, counts| {
                for (gram, count) in counts {
                    let kept: &mut usize = best.entry(gram).or_default();
                    *kept = count.max(*kept);
                }
                best
            });
        let (met, all) = (matched(&own, &best), text.len() + 1 - order);
        let smooth = usize::from(order > 1);
        log += share(met + smooth, all + smooth).ln() / orders as f64;
    }
    let apart = |reference: &&Vec<String>| (reference.len().abs_diff(text.len()), reference.len());
    let nearest = references.iter().min_by_key(apart).map_or(0, Vec::len);
    let brevity = if text.len() >= nearest { 0.0 } else { 1.0 - nearest as f64 / text.len() as f64 };
    (log + brevity).exp()
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn counts(words: &[String], order: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    for gram in words.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

fn matched(own: &HashMap<&[String], usize>, wanted: &HashMap<&[String], usize>) -> usize {
    own.iter().map(|(gram, count)| count.min(wanted.get(gram).unwrap_or(&0))).sum()
}

fn share(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refs(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn words_are_counted_as_by_hand() {
        assert!((rouge_1("The cat sat.", "the cat sat on the mat") - 0.5).abs() < 1e-12, "the, cat, sat of six");
        assert!((rouge_1("the the the", "the cat") - 0.5).abs() < 1e-12, "no word counts oftener than it is wanted");
        assert_eq!(rouge_1("anything", "…"), 0.0);
        // Five words, of which four are met; two of four pairs, one of three triples, none of two quadruples.
        let by_hand = ((0.8_f64).ln() + (3.0_f64 / 5.0).ln() + (2.0_f64 / 4.0).ln() + (1.0_f64 / 3.0).ln()) / 4.0;
        assert!((bleu("a b c x d", &refs(&["a b c d"])) - by_hand.exp()).abs() < 1e-12);
        let short = bleu("a b", &refs(&["a b c d"]));
        assert!((short - (-1.0_f64).exp()).abs() < 1e-12, "half as long as it should be: {short}");
        assert_eq!(bleu("", &refs(&["a"])), 0.0);
    }

    proptest! {
        #[test]
        fn overlap_is_a_share_and_whole_with_itself(text in "[a-d ]{0,60}", other in "[a-d ]{0,60}") {
            for value in [rouge_1(&text, &other), bleu(&text, &refs(&[&other]))] {
                prop_assert!((0.0..=1.0 + 1e-9).contains(&value), "{}", value);
            }
            if !text.trim().is_empty() {
                prop_assert!((rouge_1(&text, &text) - 1.0).abs() < 1e-9);
                prop_assert!((bleu(&text, &refs(&[&other, &text])) - 1.0).abs() < 1e-9);
            }
        }
    }
}
