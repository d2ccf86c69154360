//! The second tracer: a plain depth-first search that believes nothing.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher13;
use subduct_kernel::KernelError;

use crate::compact::Mover;
use crate::memory::{self, Refused};
use crate::mutator::HandleTable;
use crate::object::{Header, Kind, Ref, Value};
use crate::space::layout::{BLOCK_BYTES, LARGE_BYTES, REGION_BYTES, bit_of, block_of};
use crate::space::table::SideTable;
use crate::space::{RegionId, Role, Space, Window};
use crate::stats::VerifyReport;
use crate::verify::Failed;

/// Whether a trace digests what it sees. That takes about half of its time, and not each caller compares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    Made,
    /// The report's digest is 0.
    LeftOut,
}

/// Traces everything that handles reach, and asks `also` about each object.
///
/// # Errors
/// The first reference that does not lead to a sound object, from which object and slot, and why; that there is no memory.
pub fn trace(
    mover: &Mover,
    handles: &HandleTable,
    digest: Digest,
    mut also: impl FnMut(Ref) -> Result<(), String>,
) -> Result<VerifyReport, Failed> {
    let space = &mover.space;
    let blocks = (space.geometry().total_bytes() / BLOCK_BYTES) as usize;
    let refused = |error: KernelError| match error.errno {
        libc::ENOMEM => Failed::Memory(Refused { bytes: blocks as u64 * 8 }),
        _ => Failed::Kernel(error),
    };
    let mut search = Search {
        mover,
        space,
        seen: SideTable::new(blocks).map_err(refused)?,
        stack: Vec::new(),
        digest,
        report: VerifyReport { objects: 0, bytes: 0, edges: 0, digest: 0 },
    };
    for (number, slot) in handles.slots().enumerate() {
        let value = search.value(slot);
        // Any kind: the handles that hold references over polls hold parts of containers, too.
        search.edge(number as u64, value, |_| true, &mut also).map_err(|why| why.at(|| format!("handle {number}")))?;
        search.drain(&mut also)?;
    }
    Ok(search.report)
}

struct Search<'h> {
    mover: &'h Mover,
    space: &'h Space,
    /// A bit for each word of the heap.
    seen: SideTable<AtomicU64>,
    /// Objects whose slots are to be looked at, each with its [`Search::content`].
    stack: Vec<(Ref, Header, u64)>,
    digest: Digest,
    report: VerifyReport,
}

impl Failed {
    /// The same, with where it was found.
    fn at(self, place: impl FnOnce() -> String) -> Self {
        match self {
            Self::Broken(why) => Self::Broken(format!("{}: {why}", place())),
            other => other,
        }
    }
}

impl Kind {
    /// What may hang from a slot of an object of this kind.
    fn may_refer_to(self, slot: usize, to: Self) -> bool {
        match (self, slot) {
            (Self::Dict, 0) => to == Self::DictEntries,
            (Self::Dict, 1) => to == Self::DictIndex,
            (Self::List, 0) => to == Self::Items,
            (Self::Interner, _) => matches!(to, Self::Str),
            (Self::DictEntries | Self::Items | Self::Tuple, _) => {
                !matches!(to, Self::DictEntries | Self::DictIndex | Self::Items | Self::Interner)
            }
            _ => false,
        }
    }
}

impl Search<'_> {
    fn word(&self, offset: u64) -> u64 {
        #[cfg(feature = "simulate")]
        self.mover.access(offset, 8);
        if self.mover.is_watched() {
            self.mover.ensure_ready(offset, 8);
        }
        self.space.windows.word(self.space.windows.view(), offset).load(Ordering::Acquire)
    }

    fn value(&self, offset: u64) -> Value {
        Value::from_bits(self.word(offset))
    }

    /// Follows one reference: `source` is what identifies where it comes from in the digest.
    fn edge(
        &mut self,
        source: u64,
        value: Value,
        allowed: impl FnOnce(Kind) -> bool,
        also: &mut impl FnMut(Ref) -> Result<(), String>,
    ) -> Result<(), Failed> {
        if !value.is_well_formed() {
            return Err(format!("{:#x} is no value", value.bits()).into());
        }
        let Some(object) = value.as_ref() else { return Ok(()) };
        let header = self.sound(object)?;
        if !allowed(header.kind()) {
            return Err(format!("a {:?} does not belong here ({object:?})", header.kind()).into());
        }
        also(object).map_err(|why| format!("{:?} {object:?}: {why}", header.kind()))?;
        self.report.edges += 1;
        let mut content = 0;
        if self.digest == Digest::Made {
            content = self.content(object, header);
            let mut hasher = SipHasher13::new_with_keys(source, 1);
            hasher.write_u64(content);
            self.report.digest = self.report.digest.wrapping_add(hasher.finish());
        }
        let (block, bit) = (block_of(object.offset()), bit_of(object.offset()));
        // Relaxed: only this thread uses the table.
        let seen = self.seen.get(block);
        if seen.load(Ordering::Relaxed) >> bit & 1 == 0 {
            seen.fetch_or(1 << bit, Ordering::Relaxed);
            memory::push(&mut self.stack, (object, header, content)).map_err(Failed::Memory)?;
        }
        Ok(())
    }

    fn drain(&mut self, also: &mut impl FnMut(Ref) -> Result<(), String>) -> Result<(), Failed> {
        while let Some((object, header, content)) = self.stack.pop() {
            self.report.objects += 1;
            self.report.bytes += header.bytes();
            for slot in 0..header.slots() {
                let value = self.value(object.offset() + 8 + slot as u64 * 8);
                let kind = header.kind();
                let source = content.wrapping_add(slot as u64);
                self.edge(source, value, |to| kind.may_refer_to(slot, to), also)
                    .map_err(|why| why.at(|| format!("{kind:?} {object:?}, slot {slot} of {}", header.slots())))?;
            }
        }
        Ok(())
    }

    /// The header of an object, if it lies whole in a region in use and in the right window.
    fn sound(&self, object: Ref) -> Result<Header, String> {
        let offset = object.offset();
        if offset >= self.space.geometry().total_bytes() {
            return Err(format!("{object:?} lies outside the heap"));
        }
        let id = RegionId::of(offset);
        let region = self.space.regions.get(id);
        let header = Header::from_bits(self.word(offset));
        let Some(kind) = header.checked_kind() else {
            return Err(format!("{object:?} in a {:?} region has no header: {:#x}", region.role(), header.bits()));
        };
        let in_region = offset - id.start() + header.bytes();
        let fits = match region.role() {
            // Destinations are in use from the flip on, sources until then: a trace may come at any time.
            Role::Small | Role::Source | Role::Destination => {
                header.bytes() <= LARGE_BYTES && in_region <= region.used_bytes()
            }
            Role::LargeHead => header.bytes() > LARGE_BYTES && offset == id.start() && self.large_fits(id, header),
            Role::Free | Role::Reserved | Role::LargeTail | Role::Handles => false,
        };
        if !fits {
            return Err(format!("{kind:?} {object:?} of {} bytes in a {:?} region", header.bytes(), region.role()));
        }
        let leaves = self.space.geometry().window_of(offset) == Window::Leaves;
        if leaves != kind.is_leaf() || (kind.is_leaf() && header.slots() > 0) {
            return Err(format!("{kind:?} {object:?} with {} slots in the wrong window", header.slots()));
        }
        Ok(header)
    }

    fn large_fits(&self, head: RegionId, header: Header) -> bool {
        let count = header.bytes().div_ceil(REGION_BYTES) as u32;
        (1..count)
            .map(|i| self.space.regions.get(head.offset_by(i)))
            .all(|region| region.role() == Role::LargeTail && region.head() == head)
    }

    /// Digest of what an object holds itself: kind, sizes, immediates and raw bytes, without locks and references.
    fn content(&self, object: Ref, header: Header) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(0, 2);
        hasher.write_u64(header.bits());
        for slot in 0..header.slots().min(CONTENT_WORDS) {
            let value = self.value(object.offset() + 8 + slot as u64 * 8);
            hasher.write_u64(if value.is_ref() { 1 } else { value.bits() });
        }
        let raw = object.offset() + 8 + header.slots() as u64 * 8;
        let locks = usize::from(matches!(header.kind(), Kind::Dict | Kind::List));
        for word in locks..header.raw_words().min(CONTENT_WORDS) {
            hasher.write_u64(self.word(raw + word as u64 * 8));
        }
        hasher.finish()
    }
}

/// Words of an object that go into its digest: computed again for each reference to it, so not all of a huge one.
const CONTENT_WORDS: usize = 64;
