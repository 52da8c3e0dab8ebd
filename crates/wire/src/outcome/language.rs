//! In which language a text is written, as far as that can be told cheaply: by its script, and within a script by its
//! small words. What cannot be told is not guessed. Code in fences plays no part. The words are data:
//! `data/languages.json`.

use super::ascii::{eight, in_lower_case};
use super::block::{Block, Place, below, low_bytes, words};
use super::letter;
use serde::Deserialize;
use std::sync::LazyLock;

/// So much of a text is looked at.
const LOOKED_AT_BYTES: usize = 512;
/// After every so much it is enough where the language is clear.
const STEP_BYTES: usize = 128;
/// A script holds a text from so many parts in ten on.
const MOSTLY: u32 = 7;
/// A text has so many letters at least; a sign of scripts without spaces counts for three.
const LETTERS_MIN: u32 = 16;
/// What one small word is worth; one that several languages have is shared among them.
const WORD: u32 = 12;
/// The longest small word; the table has none that is longer.
const WORD_MAX_BYTES: usize = 16;
/// So much is a language's at least.
const WORDS_MIN: u32 = 3 * WORD;
/// So much makes it clear, where no other language has half of it.
const WORDS_CLEAR: u32 = 2 * WORDS_MIN;

/// In which language a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    script: Script,
    language: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Script {
    Latin,
    Cyrillic,
    Greek,
    Arabic,
    Hebrew,
    Devanagari,
    Thai,
    Hangul,
    /// Chinese and Japanese.
    Han,
    /// Any other.
    Other,
}

/// As many as [`Script`] has.
const SCRIPTS: usize = 10;

/// The small words of one language.
#[derive(Debug, Deserialize)]
struct Words {
    language: String,
    script: Script,
    words: Vec<String>,
}

/// The small words. Open addressing, for a few instructions a word: every word of every request and answer is looked
/// for.
struct Table {
    languages: &'static [Words],
    /// By script, the languages that are written in it, as a set of bits.
    of_script: [u32; SCRIPTS],
    /// Those of eight bytes at most.
    slots: Box<[Small; SLOTS]>,
    /// The few that are longer, in order.
    long: Vec<(u128, Small)>,
}

/// A small word; a free slot has no languages.
#[derive(Clone, Copy, Default)]
struct Small {
    /// Its bytes; of a longer word not used.
    key: u64,
    /// Which languages have it, as a set of bits.
    languages: u32,
    /// What it counts for each of them.
    worth: u32,
}

/// Nearly three for each small word.
const SLOTS: usize = 2048;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // A test reads the table. It lives as long as the process.
    let languages: &'static [Words] = Box::leak(
        serde_json::from_str::<Vec<Words>>(include_str!("../../data/languages.json")).unwrap_or_default().into(),
    );
    let slots = Box::new([Small::default(); SLOTS]);
    let mut table = Table { languages, of_script: [0; SCRIPTS], slots, long: Vec::new() };
    for (bit, language) in languages.iter().enumerate().take(32) {
        table.of_script[language.script as usize] |= 1 << bit;
        for word in &language.words {
            let small = table.entry(Word::of(word).bits);
            small.languages |= 1 << bit;
            small.worth = WORD / small.languages.count_ones().clamp(1, WORD);
        }
    }
    table
});

impl Table {
    fn entry(&mut self, bits: u128) -> &mut Small {
        if let Ok(key) = u64::try_from(bits) {
            let slot = self.slot(key);
            self.slots[slot].key = key;
            return &mut self.slots[slot];
        }
        let at = self.long.binary_search_by_key(&bits, |(key, _)| *key).unwrap_or_else(|at| {
            self.long.insert(at, (bits, Small::default()));
            at
        });
        &mut self.long[at].1
    }

    /// A word of eight bytes at most.
    fn short(&self, key: u64) -> Small {
        self.slots[self.slot(key)]
    }

    fn word(&self, word: Word) -> Small {
        match u64::try_from(word.bits) {
            _ if word.len > WORD_MAX_BYTES => Small::default(),
            Ok(key) => self.short(key),
            Err(_) => {
                let found = self.long.binary_search_by_key(&word.bits, |(key, _)| *key);
                found.map_or_else(|_| Small::default(), |at| self.long[at].1)
            }
        }
    }

    /// Where a key is, or would be. There are always free slots.
    fn slot(&self, key: u64) -> usize {
        let mut slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53) as usize;
        while self.slots[slot].key != key && self.slots[slot].languages != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }
}

impl Spoken {
    /// Tells the language of a text's beginning; `None` where it is too short, or of several scripts.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let text = &text[..text.floor_char_boundary(LOOKED_AT_BYTES)];
        let mut letters = Letters::default();
        if memchr::memchr(b'`', text.as_bytes()).is_some() {
            text.split("```").step_by(2).for_each(|prose| letters.read(prose));
            return letters.verdict();
        }
        let mut rest = text;
        while rest.len() > STEP_BYTES {
            // A word is not cut.
            let Some(space) = rest.as_bytes()[..STEP_BYTES].iter().rposition(|byte| *byte == b' ') else { break };
            letters.read(&rest[..space]);
            rest = &rest[space + 1..];
            if let Some(spoken) = letters.clear() {
                return Some(spoken);
            }
        }
        letters.read(rest);
        letters.verdict()
    }

    /// Whether two texts are of different languages. Of one script both languages must be known for that.
    #[must_use]
    pub fn differs(self, other: Self) -> bool {
        self.script != other.script || self.language.zip(other.language).is_some_and(|(one, other)| one != other)
    }
}

/// A word in lower case as it is read.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    bits: u128,
    len: usize,
}

impl Word {
    fn of(lower: &str) -> Self {
        let mut word = Self::default();
        lower.chars().for_each(|each| word.push_lower(each));
        word
    }

    /// Letters of ASCII.
    fn of_letters(letters: &[u8]) -> Self {
        let mut word = Self::default();
        for letters in letters.chunks(8) {
            word.push(in_lower_case(eight(letters)) & low_bytes(letters.len()), letters.len());
        }
        word
    }

    fn push_lower(&mut self, lower: char) {
        let mut bytes = [0; 8];
        let len = lower.encode_utf8(&mut bytes).len();
        self.push(u64::from_le_bytes(bytes), len);
    }

    /// So many bytes; the others of the eight are 0.
    fn push(&mut self, bytes: u64, len: usize) {
        if self.len + len <= WORD_MAX_BYTES {
            self.bits |= u128::from(bytes) << (8 * self.len);
        }
        self.len += len;
    }
}

/// What has been read of a text.
#[derive(Default)]
struct Letters {
    /// By script.
    scripts: [u32; SCRIPTS],
    kana: u32,
    /// By language, as the table has them.
    words: [u32; 32],
}

impl Letters {
    fn read(&mut self, text: &str) {
        let table = &*TABLE;
        let mut rest = text;
        while !rest.is_empty() {
            rest = self.plain_words(rest, table);
            rest = self.word(rest, table);
        }
    }

    /// Reads the words of ASCII that a text begins with, as far as all of a word is seen; what stands behind them.
    fn plain_words<'t>(&mut self, mut text: &'t str, table: &Table) -> &'t str {
        while text.as_bytes().first().is_some_and(u8::is_ascii) {
            let block = Block::of(text.as_bytes());
            // The text's end is that of its last word.
            let letters = block.letters();
            let whole = if block.len() == text.len() { text.len() } else { block.whole(letters) };
            let mut latin = 0;
            for Place { at, len, .. } in words(letters & below(whole)) {
                latin += len;
                if len <= 8 {
                    self.count(table.short(in_lower_case(block.eight(at)) & low_bytes(len)));
                } else if len <= WORD_MAX_BYTES {
                    self.count(table.word(Word::of_letters(&text.as_bytes()[at..at + len])));
                }
            }
            self.scripts[Script::Latin as usize] += latin as u32;
            text = &text[whole..];
            if whole == 0 {
                break;
            }
        }
        text
    }

    /// Reads a word of any signs, and the one behind it.
    fn word<'t>(&mut self, text: &'t str, table: &Table) -> &'t str {
        let mut word = Word::default();
        let mut signs = text.chars();
        for each in &mut signs {
            if each.is_ascii_alphabetic() {
                self.scripts[Script::Latin as usize] += 1;
                word.push_lower(each.to_ascii_lowercase());
            } else if !each.is_ascii() && (letter::is_letter(each) || is_mark(each)) {
                self.letter(each);
                letter::in_lower_case(each, |lower| word.push_lower(lower));
            } else {
                break;
            }
        }
        if word.len > 0 {
            self.count(table.word(word));
        }
        signs.as_str()
    }

    fn letter(&mut self, each: char) {
        let script = Script::of(each);
        self.scripts[script as usize] += match script {
            Script::Han | Script::Hangul | Script::Thai => 3,
            Script::Latin
            | Script::Cyrillic
            | Script::Greek
            | Script::Arabic
            | Script::Hebrew
            | Script::Devanagari
            | Script::Other => 1,
        };
        self.kana += u32::from(matches!(each, '\u{3040}'..='\u{30FF}'));
    }

    fn count(&mut self, Small { mut languages, worth, .. }: Small) {
        while languages != 0 {
            self.words[languages.trailing_zeros() as usize] += worth;
            languages &= languages - 1;
        }
    }

    fn verdict(&self) -> Option<Spoken> {
        Some(self.told()?.0)
    }

    /// The verdict where more of the text would hardly change it.
    fn clear(&self) -> Option<Spoken> {
        if self.words.iter().all(|worth| *worth < WORDS_CLEAR) {
            return None;
        }
        self.told().filter(|(spoken, clear)| *clear && spoken.language.is_some()).map(|(spoken, _)| spoken)
    }

    /// What can be told by now, and whether it is clear.
    fn told(&self) -> Option<(Spoken, bool)> {
        let script = self.script()?;
        let (best, second, language) = self.two_best(script);
        // Of a known language a fifth of the letters and more are those of small words, with gaps: a twentieth will do.
        let enough = best >= WORDS_MIN && best * 20 >= self.scripts[script as usize] * WORD / 5;
        let language = if script == Script::Han {
            // Japanese is never long without kana.
            Some(if self.kana > 0 { "ja" } else { "zh" })
        } else {
            language.filter(|_| enough && best * 2 >= second * 3)
        };
        Some((Spoken { script, language }, best >= WORDS_CLEAR && best >= second * 2))
    }

    /// The script that holds the text, if it is long enough.
    fn script(&self) -> Option<Script> {
        let all: u32 = self.scripts.iter().sum();
        let script = Script::ALL.into_iter().max_by_key(|script| self.scripts[*script as usize])?;
        let own = self.scripts[script as usize];
        (own >= LETTERS_MIN && own * 10 >= all * MOSTLY).then_some(script)
    }

    /// What the small words of the two likeliest languages are worth, and which the likeliest is.
    fn two_best(&self, script: Script) -> (u32, u32, Option<&'static str>) {
        let (mut best, mut second, mut language) = (0, 0, None);
        let mut languages = TABLE.of_script[script as usize];
        while languages != 0 {
            let bit = languages.trailing_zeros() as usize;
            languages &= languages - 1;
            let worth = self.words[bit];
            if worth >= best {
                (second, best, language) = (best, worth, Some(bit));
            } else {
                second = second.max(worth);
            }
        }
        (best, second, language.and_then(|bit| TABLE.languages.get(bit)).map(|of| of.language.as_str()))
    }
}

impl Script {
    const ALL: [Self; SCRIPTS] = [
        Self::Latin,
        Self::Cyrillic,
        Self::Greek,
        Self::Arabic,
        Self::Hebrew,
        Self::Devanagari,
        Self::Thai,
        Self::Hangul,
        Self::Han,
        Self::Other,
    ];

    fn of(each: char) -> Self {
        match each {
            '\0'..='\u{024F}' | '\u{1E00}'..='\u{1EFF}' | '\u{0300}'..='\u{036F}' => Self::Latin,
            '\u{0370}'..='\u{03FF}' | '\u{1F00}'..='\u{1FFF}' => Self::Greek,
            '\u{0400}'..='\u{052F}' => Self::Cyrillic,
            '\u{0590}'..='\u{05FF}' => Self::Hebrew,
            '\u{0600}'..='\u{06FF}' | '\u{0750}'..='\u{077F}' | '\u{FB50}'..='\u{FEFC}' => Self::Arabic,
            '\u{0900}'..='\u{097F}' => Self::Devanagari,
            '\u{0E00}'..='\u{0E7F}' => Self::Thai,
            '\u{1100}'..='\u{11FF}' | '\u{AC00}'..='\u{D7AF}' => Self::Hangul,
            '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}' => {
                Self::Han
            }
            _ => Self::Other,
        }
    }
}

/// Vowels that are written on letters.
fn is_mark(each: char) -> bool {
    matches!(each, '\u{0300}'..='\u{036F}' | '\u{064B}'..='\u{065F}' | '\u{0900}'..='\u{0903}' | '\u{093A}'..='\u{094F}' | '\u{0E31}'..='\u{0E4E}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same two sentences in each.
    const SAID: [(&str, &str); 24] = [
        (
            "en",
            "Your order has been sent and will be with you on Monday. Please tell me if there is anything else that I can do for you.",
        ),
        (
            "de",
            "Ihre Bestellung ist unterwegs und wird am Montag bei Ihnen sein. Bitte sagen Sie mir, wenn ich noch etwas für Sie tun kann.",
        ),
        (
            "fr",
            "Votre commande est en route et sera chez vous lundi. Dites-moi si je peux faire autre chose pour vous dans les prochains jours.",
        ),
        (
            "es",
            "Su pedido está en camino y llegará el lunes. Dígame si hay algo más que pueda hacer por usted, como cambiar la fecha para el envío.",
        ),
        (
            "pt",
            "O seu pedido está a caminho e vai chegar na segunda-feira. Diga se há mais alguma coisa que eu possa fazer por você, como não mudar a data.",
        ),
        (
            "it",
            "Il suo ordine è in viaggio e arriverà lunedì. Mi dica se c'è altro che posso fare per lei, come cambiare la data della consegna.",
        ),
        (
            "nl",
            "Uw bestelling is onderweg en zal er maandag zijn. Laat het mij weten als ik nog iets voor u kan doen, ook over een andere datum.",
        ),
        (
            "sv",
            "Din beställning är på väg och kommer fram på måndag. Säg till om det finns något mer som jag kan göra för dig och inte bara i dag.",
        ),
        (
            "da",
            "Din bestilling er på vej og kommer frem på mandag. Sig til, hvis der er noget mere, som jeg kan gøre for dig, og ikke kun af hensyn til datoen.",
        ),
        (
            "pl",
            "Twoje zamówienie jest w drodze i będzie w poniedziałek. Powiedz, czy jest coś, co mogę dla ciebie zrobić, ale nie od razu i nie za dużo.",
        ),
        (
            "cs",
            "Vaše objednávka je na cestě a bude u vás v pondělí. Řekněte mi, co pro vás ještě můžu udělat, jsem tu a nebo se ozvěte, jak je to možné.",
        ),
        (
            "ro",
            "Comanda dumneavoastră este pe drum și va ajunge luni. Spuneți-mi dacă mai este ceva ce pot face pentru dumneavoastră, nu doar în această zi.",
        ),
        (
            "tr",
            "Siparişiniz yolda ve pazartesi günü bir kurye ile gelecek. Sizin için daha çok ne yapabilirim, bu konuda bana yazın, her zaman buradayım.",
        ),
        (
            "id",
            "Pesanan anda sudah dikirim dan akan tiba pada hari Senin. Tolong beri tahu saya jika ada yang lain yang bisa saya bantu untuk anda.",
        ),
        (
            "vi",
            "Đơn hàng của bạn đã được gửi và sẽ đến vào thứ hai. Hãy cho tôi biết nếu bạn cần gì khác, tôi có thể làm những việc này cho bạn.",
        ),
        (
            "fi",
            "Tilauksesi on matkalla ja se saapuu maanantaina. Kerro jos voin tehdä vielä jotain, mutta en ole paikalla kun on viikonloppu, ja se on myös totta.",
        ),
        (
            "hu",
            "A rendelés úton van és hétfőn ott lesz. Kérem, szóljon, ha még kell valami, és az is jó, ha nem ma, hanem egy hét múlva, de ez csak egy ötlet.",
        ),
        (
            "ru",
            "Ваш заказ в пути и будет у вас в понедельник. Скажите мне, если я могу что-то ещё для вас сделать, но не по телефону.",
        ),
        (
            "uk",
            "Ваше замовлення в дорозі і буде у вас в понеділок. Скажіть, якщо я можу ще щось для вас зробити, але це не так просто, як є.",
        ),
        (
            "bg",
            "Вашата поръчка е на път и ще бъде при вас в понеделник. Кажете ми, ако може да се направи още нещо за вас, но не е към днес.",
        ),
        (
            "ar",
            "طلبك في الطريق إلى عنوانك وسوف يصل يوم الاثنين. أخبرني إذا كان هناك ما يمكن أن أفعله لك من هذا أو من أي شيء على الموقع.",
        ),
        (
            "fa",
            "سفارش شما در راه است و دوشنبه به شما می رسد. اگر کار دیگری از من بر می آید که برای شما انجام دهم، با من در میان بگذارید و این را بگویید.",
        ),
        (
            "hi",
            "आपका ऑर्डर रास्ते में है और सोमवार को आप के पास होगा। अगर आप के लिए मैं और कुछ कर सकता हूँ तो मुझे बताइए, यह भी नहीं है कि देर हो।",
        ),
        ("ja", "ご注文の品は発送済みで、月曜日にお届けします。ほかに何かありましたらお知らせください。"),
    ];

    #[test]
    fn every_language_is_told_from_the_others() {
        for (language, text) in SAID {
            let spoken = Spoken::of(text).unwrap();
            assert_eq!(spoken.language, Some(language), "{text}");
            for (other, said) in SAID {
                assert_eq!(spoken.differs(Spoken::of(said).unwrap()), other != language, "{language} and {other}");
            }
        }
        for (text, language) in [
            ("您的订单已经发出，将于星期一送达。还有什么可以帮您的吗？", Some("zh")),
            ("주문하신 상품은 월요일에 도착할 예정입니다.", None),
        ] {
            let spoken = Spoken::of(text).unwrap();
            assert_eq!(spoken.language, language);
            assert!(SAID.iter().all(|(_, said)| spoken.differs(Spoken::of(said).unwrap())), "{text}");
        }
    }

    #[test]
    fn every_small_word_of_the_table_is_found() {
        for (bit, language) in TABLE.languages.iter().enumerate() {
            for small in &language.words {
                let word = Word::of(small);
                assert!(word.len <= WORD_MAX_BYTES, "`{small}` is longer than is looked for");
                assert!(TABLE.word(word).languages & (1 << bit) != 0, "`{small}`");
            }
        }
        for none in ["", "antidisestablishmentarianism"] {
            assert_eq!(TABLE.word(Word::of(none)).languages, 0);
        }
        assert!(TABLE.slots.iter().filter(|slot| slot.languages != 0).count() * 3 < SLOTS, "it is sparse");
    }

    proptest! {
        #[test]
        fn words_are_those_between_what_is_no_letter(text in "([a-zA-Z@\\[`{0-9éÉß我ー ]{0,40}|[0-9,=; ]{0,20}|the|und){0,4}") {
            let mut letters = Letters::default();
            letters.read(&text);
            let own = |each: char| each.is_alphabetic() || is_mark(each);
            let latin = text.chars().filter(|each| own(*each) && Script::of(*each) == Script::Latin).count();
            prop_assert_eq!(letters.scripts[Script::Latin as usize] as usize, latin);
            let mut worth = [0; 32];
            for word in text.split(|each| !own(each)).filter(|word| !word.is_empty()) {
                let small = TABLE.word(Word::of(&word.to_lowercase()));
                (0..32).filter(|bit| small.languages >> bit & 1 == 1).for_each(|bit| worth[bit] += small.worth);
            }
            prop_assert_eq!(letters.words, worth);
        }
    }

    #[test]
    fn what_the_first_bytes_do_not_tell_the_next_do() {
        let (german, english) = (SAID[1].1, SAID[0].1);
        let of = |first: &str, then: &str| Spoken::of(&format!("{first} {then}")).unwrap().language;
        assert_eq!(of(&german.repeat(2), &english.repeat(2)), Some("de"), "the first do");
        let names = "Ticketnummer Produktbezeichnung Lieferadresse Rechnungsbetrag Zahlungsart Versandart ".repeat(3);
        assert_eq!(Spoken::of(&names).unwrap().language, None);
        assert_eq!(of(&names, &english.repeat(2)), Some("en"));
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        for text in [
            "",
            "OK.",
            "4711",
            "kubectl apply -f",
            "Привет hello мир world",
            "```rust\nfn the_and_of_to() { let is = in_that; }\n```",
        ] {
            assert_eq!(Spoken::of(text), None, "{text}");
        }
        let names = Spoken::of("Kubernetes, Prometheus, Grafana, Terraform, Ansible, Jenkins").unwrap();
        assert_eq!(names.language, None);
        assert!(!names.differs(Spoken::of(SAID[0].1).unwrap()), "one script, and nothing else is known");
    }

    #[test]
    fn foreign_names_and_code_do_not_hide_a_language() {
        let german = Spoken::of("Bitte öffnen Sie das Dashboard und klicken Sie auf Deploy. Das ist nicht schwer:\n```sh\nkubectl apply -f the-and-of-to.yaml # and this is for you and the others\n```\nWenn es nicht geht, sagen Sie es.").unwrap();
        assert_eq!(german.language, Some("de"));
        let chinese = Spoken::of("请使用 Kubernetes 部署您的服务，然后打开 Grafana 查看指标和日志。").unwrap();
        assert_eq!(chinese.language, Some("zh"));
    }
}
