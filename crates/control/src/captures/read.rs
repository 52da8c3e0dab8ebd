//! Who may read captured texts, and the record of who did. It is written before a text is given: where it cannot be,
//! nothing is read.

use super::pairs::{AnswerPair, Opened, pair};
use super::seal::SealError;
use super::text::Text;
use super::{CaptureCounts, CaptureSettings};
use crate::control::Control;
use crate::error::ControlError;
use coalmine_core::capture::{CaptureHead, CaptureId, CaptureRule, CaptureScope, CaptureUse, Did};
use coalmine_core::id::{Actor, ReleaseId, RouteName};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Arm;
use coalmine_store::{CaptureCut, CaptureRow, StoreError};

/// Of each arm, so many of the newest answers are looked at for pairs.
const COMPARED_MAX: usize = 300;
/// So long it is known who read what.
const USES_KEPT: SpanMs = SpanMs::hours(400 * 24);

/// What is captured of a release, or of a route without one.
#[derive(Debug, Clone, PartialEq)]
pub struct Captured {
    /// What is captured of its route; `None`: nothing, now.
    pub rule: Option<CaptureRule>,
    /// What became of sampled answers of all routes since the process began.
    pub counts: CaptureCounts,
    /// What is kept, the newest first.
    pub heads: Vec<CaptureHead>,
}

/// Answers of both arms, side by side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SideBySide {
    /// Those to like prompts that were asked for.
    pub pairs: Vec<AnswerPair>,
    /// All of them.
    pub found: usize,
    /// Answers of control that were looked at.
    pub control: u64,
    /// Answers of the canary that were looked at.
    pub canary: u64,
    /// Answers whose key is not here, or whose seal is broken.
    pub unopened: u64,
}

/// Which pairs are asked for, of those that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// So many are passed over.
    pub skip: usize,
    /// So many follow at most.
    pub most: usize,
}

impl Control {
    /// What is captured of a release, or of a route without one, without its texts.
    ///
    /// # Errors
    /// When there is no such release or route, or the store does not answer.
    pub async fn captured(&self, scope: &CaptureScope) -> Result<Captured, ControlError> {
        let route = self.route_of(scope)?;
        let heads = self.live_heads(scope).await?;
        let rule = self.settings.captures.as_ref().and_then(|settings| settings.rules.get(&route).copied());
        Ok(Captured { rule, counts: self.capture_counts(), heads })
    }

    /// Answers of both arms of a release to like prompts.
    ///
    /// # Errors
    /// When this operator may not read, there is no such release, or the store does not answer.
    pub async fn side_by_side(
        &self,
        release: &ReleaseId,
        window: Window,
        actor: &Actor,
    ) -> Result<SideBySide, ControlError> {
        let settings = self.readable_by(actor)?;
        let scope = CaptureScope::from(release.clone());
        self.route_of(&scope)?;
        let heads = self.live_heads(&scope).await?;
        let mut rows = Vec::new();
        for arm in [Arm::Control, Arm::Canary] {
            for head in heads.iter().filter(|head| head.arm == arm).take(COMPARED_MAX) {
                rows.extend(self.row(head.id).await?);
            }
        }
        let count = |arm| rows.iter().filter(|row| row.head.arm == arm).count() as u64;
        let (control, canary) = (count(Arm::Control), count(Arm::Canary));
        let tenant = self.settings.tenant.clone();
        let pairing = tokio::task::spawn_blocking(move || {
            let all = rows.len();
            let opened: Vec<Opened> = rows.into_iter().filter_map(|row| open(&settings, &tenant, row).ok()).collect();
            let unopened = (all - opened.len()) as u64;
            let all = pair(opened);
            let found = all.len();
            let pairs = all.into_iter().skip(window.skip).take(window.most).collect();
            SideBySide { pairs, found, control, canary, unopened }
        });
        let found = pairing.await.unwrap_or_default();
        self.note_use(&scope, actor, Did::ReadPairs, 2 * found.pairs.len() as u64).await?;
        Ok(found)
    }

    /// One captured answer with its text.
    ///
    /// # Errors
    /// When this operator may not read, it is not there, or it cannot be opened.
    pub async fn captured_text(&self, id: CaptureId, actor: &Actor) -> Result<Opened, ControlError> {
        let settings = self.readable_by(actor)?;
        let unknown = || ControlError::UnknownCapture(id.to_string());
        let row = self.row(id).await?.ok_or_else(unknown)?;
        let opened = open(&settings, &self.settings.tenant, row)?;
        self.note_use(&opened.head.scope(), actor, Did::ReadOne, 1).await?;
        Ok(opened)
    }

    /// An answer of a route without a release, with its text: so many are newer. And how many there are.
    ///
    /// # Errors
    /// When this operator may not read, there is no such route, or the store does not answer.
    pub async fn steady_text(
        &self,
        route: &RouteName,
        at: usize,
        actor: &Actor,
    ) -> Result<(Option<Result<Opened, SealError>>, usize), ControlError> {
        let settings = self.readable_by(actor)?;
        let scope = CaptureScope::from(route.clone());
        self.route_of(&scope)?;
        let heads = self.live_heads(&scope).await?;
        let row = match heads.get(at) {
            Some(head) => self.row(head.id).await?,
            None => None,
        };
        let opened = row.map(|row| open(&settings, &self.settings.tenant, row));
        if let Some(Ok(opened)) = &opened {
            self.note_use(&opened.head.scope(), actor, Did::ReadOne, 1).await?;
        }
        Ok((opened, heads.len()))
    }

    /// The text of an answer that waits for a label, by its item; `None` where it was not captured, or this operator
    /// may not read it. Whoever labels is not told the arm.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn text_to_label(
        &self,
        release: &ReleaseId,
        item: &str,
        actor: &Actor,
    ) -> Result<Option<Text>, ControlError> {
        let (Ok(settings), Ok(item)) = (self.readable_by(actor), u64::from_str_radix(item, 16)) else {
            return Ok(None);
        };
        let scope = CaptureScope::from(release.clone());
        let Some(head) = self.live_heads(&scope).await?.into_iter().find(|head| head.item == item) else {
            return Ok(None);
        };
        let Some(row) = self.row(head.id).await? else { return Ok(None) };
        let Ok(opened) = open(&settings, &self.settings.tenant, row) else { return Ok(None) };
        self.note_use(&scope, actor, Did::ReadToLabel, 1).await?;
        Ok(Some(opened.text))
    }

    /// Deletes one captured answer. Whoever is an operator may delete; it is noted all the same.
    ///
    /// # Errors
    /// When it is not there, or the store does not answer.
    pub async fn delete_capture(&self, id: CaptureId, actor: &Actor) -> Result<u64, ControlError> {
        let unknown = || ControlError::UnknownCapture(id.to_string());
        let found = self.row(id).await?.ok_or_else(unknown)?;
        self.cut(&found.head.scope(), CaptureCut::One(id), actor).await
    }

    /// Deletes all captured answers of a release, or of a route without one; how many.
    ///
    /// # Errors
    /// When there is no such release or route, or the store does not answer.
    pub async fn delete_captures_of(&self, scope: &CaptureScope, actor: &Actor) -> Result<u64, ControlError> {
        self.route_of(scope)?;
        self.cut(scope, CaptureCut::Of(scope.clone()), actor).await
    }

    /// Who read and deleted captured texts, the newest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn capture_uses(&self) -> Result<Vec<CaptureUse>, ControlError> {
        let uses = self.store.capture_uses(&self.settings.tenant, UnixMs(0));
        Ok(self.ask("reading uses of captures", uses).await?)
    }

    /// The routes that capture.
    #[must_use]
    pub fn captured_routes(&self) -> Vec<RouteName> {
        self.settings.captures.iter().flat_map(|settings| settings.rules.keys().cloned()).collect()
    }

    /// Whether this operator may read what was captured.
    #[must_use]
    pub fn may_read_captures(&self, actor: &Actor) -> bool {
        self.readable_by(actor).is_ok()
    }

    pub(crate) async fn forget_capture_uses(&self) -> Result<(), StoreError> {
        let before = UnixMs(self.clock.now().0.saturating_sub(USES_KEPT.0));
        let forget = self.store.forget_capture_uses(&self.settings.tenant, before);
        self.ask("forgetting uses of captures", forget).await
    }

    fn readable_by(&self, actor: &Actor) -> Result<CaptureSettings, ControlError> {
        let settings = self.settings.captures.as_ref().ok_or(ControlError::NoCapture)?;
        if settings.lets_read(actor) { Ok(settings.clone()) } else { Err(ControlError::MayNotRead(actor.clone())) }
    }

    fn route_of(&self, scope: &CaptureScope) -> Result<RouteName, ControlError> {
        let known = self.known();
        match scope {
            CaptureScope::Release { release } => {
                let found = known.releases.get(release).map(|found| found.release.route.clone());
                found.ok_or_else(|| ControlError::UnknownRelease(release.clone()))
            }
            CaptureScope::Steady { route } => {
                let found = known.routes.get(route).map(|row| row.route.clone());
                found.ok_or_else(|| ControlError::UnknownRoute(route.clone()))
            }
        }
    }

    async fn live_heads(&self, scope: &CaptureScope) -> Result<Vec<CaptureHead>, StoreError> {
        let now = self.clock.now();
        let heads = self.store.capture_heads(&self.settings.tenant, scope);
        let mut heads = self.ask("listing captures", heads).await?;
        heads.retain(|head| head.expires_at > now);
        Ok(heads)
    }

    async fn row(&self, id: CaptureId) -> Result<Option<CaptureRow>, StoreError> {
        let now = self.clock.now();
        let row = self.ask("reading a capture", self.store.capture(&self.settings.tenant, id)).await?;
        Ok(row.filter(|row| row.head.expires_at > now))
    }

    async fn cut(&self, scope: &CaptureScope, which: CaptureCut, actor: &Actor) -> Result<u64, ControlError> {
        let delete = self.store.delete_captures(&self.settings.tenant, &which);
        let gone = self.ask("deleting captures", delete).await?;
        self.note_use(scope, actor, Did::Deleted, gone).await?;
        Ok(gone)
    }

    async fn note_use(&self, of: &CaptureScope, actor: &Actor, did: Did, answers: u64) -> Result<(), StoreError> {
        let mut id = [0; 8];
        id.copy_from_slice(&self.ports.random.secret()[..8]);
        let used = CaptureUse {
            id: u64::from_le_bytes(id),
            at: self.clock.now(),
            actor: actor.clone(),
            of: of.clone(),
            did,
            answers,
        };
        self.ask("noting a use of captures", self.store.note_capture_use(&self.settings.tenant, &used)).await?;
        tracing::info!(%of, by = %actor, did = did.as_str(), answers, "captured answers");
        Ok(())
    }
}

fn open(
    settings: &CaptureSettings,
    tenant: &coalmine_core::id::TenantId,
    row: CaptureRow,
) -> Result<Opened, SealError> {
    let bytes = settings.keys.open(tenant, &row.head, &row.sealed)?;
    let text = Text::read(&bytes).ok_or(SealError::Broken)?;
    Ok(Opened { head: row.head, text })
}
