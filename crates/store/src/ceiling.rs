//! Local ceilings: exposure that was lowered on this node, kept through restarts without the store.
//!
//! One file of 64 KiB, written in full once and afterwards only in place, so that a full disk cannot
//! keep exposure up (on file systems that copy on write the disk must have that room free). It has
//! two slots that are written in turn, each with a checksum: a torn write leaves the older one.

use coalmine_core::id::{Generation, ReleaseId};
use coalmine_core::traffic::weight::WeightBp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The length of a slot; the file has two.
const SLOT: usize = 32 << 10;
/// Checksum, sequence and length of the text.
const HEAD: usize = 32 + 8 + 4;
/// The form of the text that this build writes.
const FORM: u32 = 1;

/// The ceilings of this node. Every change is on the disk when its call returns; a call blocks for
/// the time of one fsync, so it belongs on a thread for blocking calls.
#[derive(Debug)]
pub struct Ceilings {
    path: PathBuf,
    kept: Mutex<Kept>,
}

/// How far one release is held down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// At most this weight is served.
    pub weight: WeightBp,
    /// The newest table generation that was served when it was lowered last.
    pub generation: Generation,
}

/// Why a ceiling was not kept.
#[derive(Debug, thiserror::Error)]
pub enum CeilingError {
    /// The disk says no. Exposure stays lowered while the process lives; call again.
    #[error("{what} the ceilings in {} failed ({source}); they hold until a restart, look after the disk and repeat", path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was lowered cannot be read: nothing may be raised on its word.
    #[error("the ceilings in {} cannot be read ({what}); roll back what must stay down, then remove the file", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// There is no room for one more.
    #[error("{} is full ({releases} releases are held down); a release that is rolled back or promoted frees its place", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// How many are in it.
        releases: usize,
    },
}

#[derive(Debug)]
struct Kept {
    file: File,
    /// The slot that holds the newest text.
    slot: usize,
    sequence: u64,
    ceilings: BTreeMap<ReleaseId, Ceiling>,
}

#[derive(Serialize, Deserialize)]
struct Text {
    v: u32,
    ceilings: BTreeMap<ReleaseId, Ceiling>,
}

impl Ceilings {
    /// Opens the file, which is made, with the directories above it, where there is none.
    ///
    /// # Errors
    /// [`CeilingError::Corrupt`] where there is a file and no slot of it can be read.
    pub fn open(path: &Path) -> Result<Self, CeilingError> {
        let failed = |source| CeilingError::Disk { what: "opening", path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let kept = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => read(file, path)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => create(path, BTreeMap::new()).map_err(failed)?,
            Err(e) => return Err(failed(e)),
        };
        Ok(Self { path: path.to_owned(), kept: Mutex::new(kept) })
    }

    /// Holds `release` at `weight` or below. A ceiling is never raised by this: of two the lower one
    /// stays, with the newer generation.
    ///
    /// # Errors
    /// Where it is not on the disk; it is in [`Self::all`] all the same, and the next call of either
    /// kind that succeeds writes it.
    pub fn lower(&self, release: &ReleaseId, weight: WeightBp, generation: Generation) -> Result<(), CeilingError> {
        let mut kept = self.lock();
        let ceiling = kept.ceilings.entry(release.clone()).or_insert(Ceiling { weight, generation });
        ceiling.weight = ceiling.weight.min(weight);
        ceiling.generation = ceiling.generation.max(generation);
        let wanted = kept.ceilings.clone();
        self.write(&mut kept, wanted)
    }

    /// Lets `release` go: a newer table that names it is served. One without a ceiling is no error.
    ///
    /// # Errors
    /// Where it is not on the disk; the ceiling then stays.
    pub fn lift(&self, release: &ReleaseId) -> Result<(), CeilingError> {
        let mut kept = self.lock();
        let mut wanted = kept.ceilings.clone();
        if wanted.remove(release).is_none() {
            return Ok(());
        }
        self.write(&mut kept, wanted)
    }

    /// All ceilings.
    #[must_use]
    pub fn all(&self) -> BTreeMap<ReleaseId, Ceiling> {
        self.lock().ceilings.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, kept: &mut Kept, wanted: BTreeMap<ReleaseId, Ceiling>) -> Result<(), CeilingError> {
        let failed = |source| CeilingError::Disk { what: "writing", path: self.path.clone(), source };
        let releases = wanted.len();
        let sequence = kept.sequence + 1;
        let Some(bytes) = encode(sequence, &wanted).map_err(failed)? else {
            return Err(CeilingError::Full { path: self.path.clone(), releases });
        };
        if !is_at(&kept.file, &self.path) {
            // Somebody removed the file: what is written into it now would be gone at the next start.
            *kept = create(&self.path, wanted).map_err(failed)?;
            return Ok(());
        }
        let slot = 1 - kept.slot;
        kept.file.write_all_at(&bytes, (slot * SLOT) as u64).map_err(failed)?;
        kept.file.sync_data().map_err(failed)?;
        (kept.slot, kept.sequence, kept.ceilings) = (slot, sequence, wanted);
        Ok(())
    }
}

/// Writes a whole file beside `path` and puts it there.
fn create(path: &Path, ceilings: BTreeMap<ReleaseId, Ceiling>) -> io::Result<Kept> {
    let sequence = 1;
    let mut bytes = encode(sequence, &ceilings)?.ok_or(io::ErrorKind::FileTooLarge)?;
    bytes.resize(2 * SLOT, 0);
    let new = path.with_extension("new");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&new)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()?;
    Ok(Kept { file, slot: 0, sequence, ceilings })
}

fn read(mut file: File, path: &Path) -> Result<Kept, CeilingError> {
    let mut bytes = Vec::new();
    let whole = 2 * SLOT as u64;
    (&mut file).take(whole).read_to_end(&mut bytes).map_err(|source| CeilingError::Disk {
        what: "reading",
        path: path.to_owned(),
        source,
    })?;
    let corrupt = |what| CeilingError::Corrupt { path: path.to_owned(), what };
    let slots = bytes.chunks(SLOT).enumerate();
    let newest =
        slots.filter_map(|(slot, bytes)| Some((decode(bytes)?, slot))).max_by_key(|((sequence, _), _)| *sequence);
    let Some(((sequence, text), slot)) = newest else {
        return Err(corrupt("both of its slots are damaged".to_owned()));
    };
    let text: Text = serde_json::from_slice(text).map_err(|e| corrupt(e.to_string()))?;
    if text.v != FORM {
        return Err(corrupt(format!("it has form {}, and this build reads {FORM}", text.v)));
    }
    Ok(Kept { file, slot, sequence, ceilings: text.ceilings })
}

/// The bytes of a slot; `None` where they do not fit into it.
fn encode(sequence: u64, ceilings: &BTreeMap<ReleaseId, Ceiling>) -> io::Result<Option<Vec<u8>>> {
    let text = serde_json::to_vec(&Text { v: FORM, ceilings: ceilings.clone() })?;
    if text.len() > SLOT - HEAD {
        return Ok(None);
    }
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![0; 32];
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&text);
    let sum = blake3::hash(&bytes[32..]);
    bytes[..32].copy_from_slice(sum.as_bytes());
    Ok(Some(bytes))
}

/// The sequence and the text of a slot that is whole.
fn decode(slot: &[u8]) -> Option<(u64, &[u8])> {
    let (sum, rest) = slot.split_first_chunk::<32>()?;
    let (sequence, text) = rest.split_first_chunk::<8>()?;
    let (length, text) = text.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let text = text.get(..length)?;
    let summed = rest.get(..8 + 4 + length)?;
    (blake3::hash(summed) == *sum).then_some((u64::from_le_bytes(*sequence), text))
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        (Ok(_) | Err(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(bp: u16, generation: u64) -> Ceiling {
        Ceiling { weight: WeightBp::new(bp).unwrap(), generation: Generation(generation) }
    }

    fn lower(ceilings: &Ceilings, release: &str, bp: u16, generation: u64) -> Result<(), CeilingError> {
        let it = at(bp, generation);
        ceilings.lower(&release.into(), it.weight, it.generation)
    }

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn path(&self) -> PathBuf {
            self.0.path().join("data/ceilings")
        }
        fn open(&self) -> Ceilings {
            Ceilings::open(&self.path()).unwrap()
        }
    }

    #[test]
    fn a_ceiling_holds_through_restarts_until_it_is_lifted() {
        let place = Place::new();
        assert!(place.open().all().is_empty());
        for (bp, generation) in [(500, 3), (0, 4), (2_500, 9)] {
            lower(&place.open(), "a-1", bp, generation).unwrap();
        }
        lower(&place.open(), "b-1", 100, 2).unwrap();
        let expected = BTreeMap::from([("a-1".into(), at(0, 9)), ("b-1".into(), at(100, 2))]);
        assert_eq!(place.open().all(), expected, "the lowest, of the newest generation");
        place.open().lift(&"a-1".into()).unwrap();
        place.open().lift(&"unknown".into()).unwrap();
        assert_eq!(place.open().all(), BTreeMap::from([("b-1".into(), at(100, 2))]));
    }

    #[test]
    fn the_file_never_grows_and_is_full_at_its_end() {
        let place = Place::new();
        let ceilings = place.open();
        let length = || std::fs::metadata(place.path()).unwrap().len();
        assert_eq!(length(), 65_536);
        let mut held = 0;
        let full = loop {
            match lower(&ceilings, &format!("a-long-route-name-{held}"), 0, 1) {
                Ok(()) => held += 1,
                Err(e) => break e,
            }
        };
        assert!(held > 400, "{held}");
        assert!(matches!(full, CeilingError::Full { .. }), "{full}");
        assert_eq!(length(), 65_536);
        assert_eq!(place.open().all().len(), held);
    }

    #[test]
    fn a_removed_file_is_made_again() {
        let place = Place::new();
        let ceilings = place.open();
        lower(&ceilings, "a-1", 0, 1).unwrap();
        std::fs::remove_file(place.path()).unwrap();
        lower(&ceilings, "b-1", 0, 1).unwrap();
        assert_eq!(place.open().all(), ceilings.all());
        assert_eq!(ceilings.all().len(), 2);
    }

    #[test]
    fn a_ceiling_that_could_not_be_written_is_written_by_the_next_call() {
        let place = Place::new();
        let ceilings = place.open();
        std::fs::remove_dir_all(place.path().parent().unwrap()).unwrap();
        assert!(matches!(lower(&ceilings, "a-1", 0, 1), Err(CeilingError::Disk { .. })));
        assert_eq!(ceilings.all(), BTreeMap::from([("a-1".into(), at(0, 1))]), "it holds while the process lives");
        std::fs::create_dir(place.path().parent().unwrap()).unwrap();
        lower(&ceilings, "b-1", 0, 1).unwrap();
        assert_eq!(place.open().all().len(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let place = Place::new();
        lower(&place.open(), "a-1", 0, 1).unwrap();
        for bytes in [vec![0; 2 * SLOT], vec![], vec![7; 100]] {
            std::fs::write(place.path(), bytes).unwrap();
            let refused = Ceilings::open(&place.path());
            assert!(matches!(refused, Err(CeilingError::Corrupt { .. })), "{refused:?}");
        }
        let newer = br#"{"v":2,"ceilings":{}}"#;
        let mut bytes = vec![0; 32];
        bytes.extend_from_slice(&9_u64.to_le_bytes());
        bytes.extend_from_slice(&(newer.len() as u32).to_le_bytes());
        bytes.extend_from_slice(newer);
        let sum = blake3::hash(&bytes[32..]);
        bytes[..32].copy_from_slice(sum.as_bytes());
        std::fs::write(place.path(), bytes).unwrap();
        let refused = Ceilings::open(&place.path()).unwrap_err().to_string();
        assert!(refused.contains("form 2"), "{refused}");
    }

    proptest! {
        /// A power cut may leave any part of a write, old bytes and new ones mixed by sectors.
        #[test]
        fn a_torn_write_keeps_the_older(changes in prop::collection::vec((0..4_u8, 0..10_000_u16), 1..8), cut in 0.0..1.0_f64) {
            let place = Place::new();
            let ceilings = place.open();
            let (mut before, mut old) = (ceilings.all(), std::fs::read(place.path()).unwrap());
            for (release, bp) in &changes {
                (before, old) = (ceilings.all(), std::fs::read(place.path()).unwrap());
                lower(&ceilings, &format!("r-{release}"), *bp, 1).unwrap();
            }
            let new = std::fs::read(place.path()).unwrap();
            let changed: Vec<_> = (0..new.len()).filter(|at| new[*at] != old[*at]).collect();
            let written = (changed.len() as f64 * cut) as usize;
            let mut torn = old;
            for at in &changed[..written] {
                torn[*at] = new[*at];
            }
            std::fs::write(place.path(), torn).unwrap();
            prop_assert_eq!(place.open().all(), before);
        }
    }
}
