//! Which regions to evacuate, and where every one of their objects goes.
//!
//! The plan is made while mutators run: it reads marks and headers, and writes only tables that nobody reads before
//! the flip.

use crate::compact::mover::Mover;
use crate::mark::bitmap::signature_bit;
use crate::memory::{self, Refused};
use crate::object::{Header, Ref};
use crate::space::layout::{POPULATE_BYTES, REGION_BYTES, block_of};
use crate::space::region::Region;
use crate::space::{RegionId, Role, Shortage, Space, Window};

/// How eagerly to evacuate.
#[derive(Clone, Copy, Debug)]
pub struct Eagerness {
    /// Regions with at most this share of their resident bytes alive are evacuated.
    pub live_share: f64,
    /// So are others with at most this share, the sparsest first, while more than `used_wanted_bytes` would stay in use.
    pub live_share_max: f64,
    /// See `live_share_max`.
    pub used_wanted_bytes: u64,
    /// Room to leave to mutators.
    pub spare_bytes: u64,
    /// What evacuating a window has to give back at least, in bytes; 0: evacuate in any case.
    pub gain_bytes_min: u64,
    /// Evacuate regions that each give something back, none of them into two destinations: nothing is lost at the end of one, and
    /// what room there is serves to gain more.
    pub whole_regions: bool,
}

/// What moves in one cycle.
#[derive(Default)]
pub struct Plan {
    /// Regions to evacuate, in the order in which their objects are laid out.
    pub sources: Vec<RegionId>,
    /// Regions to build, in the same order.
    pub destinations: Vec<RegionId>,
    /// Signature bits of the sources: a page without any of them has nothing to fix.
    pub signature: u64,
    /// Bytes of objects that move.
    pub bytes: u64,
    /// Whether memory was too short to evacuate everything that was worth it.
    pub truncated: bool,
}

impl Plan {
    /// Destinations in a window.
    pub fn destinations_in(&self, space: &Space, window: Window) -> impl Iterator<Item = RegionId> {
        self.destinations.iter().copied().filter(move |id| space.geometry().window_of(id.start()) == window)
    }

    /// Destinations in the leaves window, as runs of neighbours: each is one registration.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn leaf_runs(&self, space: &Space) -> Result<Vec<(u64, u64)>, Refused> {
        let mut ids = Vec::new();
        memory::reserve(&mut ids, self.destinations.len())?;
        ids.extend(self.destinations_in(space, Window::Leaves));
        ids.sort_unstable();
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for id in ids {
            match runs.last_mut() {
                Some((_, end)) if *end == id.start() => *end = id.end(),
                _ => memory::push(&mut runs, (id.start(), id.end()))?,
            }
        }
        Ok(runs)
    }
}

/// Lays objects out in destination regions.
struct Layout<'m> {
    mover: &'m Mover,
    window: Window,
    /// Where the next object goes; `None` before the first destination.
    at: Option<u64>,
    /// Bytes of objects that are still to come, to make no more resident than needed.
    left: u64,
    /// See [`Eagerness::whole_regions`].
    whole_regions: bool,
}

/// Chooses regions and lays out their objects.
#[must_use]
pub fn make(mover: &Mover, eagerness: Eagerness) -> Plan {
    let mut plan = Plan::default();
    let live_share = share_needed(mover, eagerness);
    for window in Window::ALL {
        let chosen = choose(mover, window, live_share, eagerness, &mut plan);
        if memory::reserve(&mut plan.sources, chosen.len()).is_err() {
            plan.truncated = true;
            continue;
        }
        let left = chosen.iter().map(|(id, _)| mover.space.regions.get(*id).live_bytes()).sum();
        let mut layout = Layout { mover, window, at: None, left, whole_regions: eagerness.whole_regions };
        for (id, _) in chosen {
            if layout.place_region(id, &mut plan).is_err() {
                plan.truncated = true;
                break;
            }
        }
        layout.close_destination();
    }
    for pair in plan.sources.windows(2) {
        mover.space.regions.get(pair[0]).set_head(pair[1]);
    }
    for id in &plan.sources {
        mover.space.regions.get(*id).set_role(Role::Source);
        mover.forwarding.set_moving(*id, true);
        plan.signature |= signature_bit(*id);
    }
    plan
}

/// The share of live bytes up to which regions have to be evacuated: see [`Eagerness`].
fn share_needed(mover: &Mover, eagerness: Eagerness) -> f64 {
    let space = &mover.space;
    let mut used = space.used_bytes();
    // Those that there is no memory for are not chosen now.
    let (mut all, _) = memory::gather(Window::ALL.into_iter().flat_map(|window| candidates(space, window)));
    sparsest_first(&mut all);
    let mut needed = eagerness.live_share;
    for (id, share) in all {
        if share > eagerness.live_share {
            if share > eagerness.live_share_max || used <= eagerness.used_wanted_bytes {
                break;
            }
            needed = share;
        }
        let region = space.regions.get(id);
        used = used.saturating_sub(match eagerness.whole_regions {
            true => space.gives_back(id),
            false => region.resident_bytes().saturating_sub(region.live_bytes()),
        });
    }
    needed
}

/// The regions of a window that may be evacuated, each with the share of its resident bytes that is alive.
fn candidates(space: &Space, window: Window) -> impl Iterator<Item = (RegionId, f64)> {
    space.regions.iter(window).filter_map(|(id, region)| {
        let is_candidate = space.held_role(id) == Some(Role::Small) && region.live_bytes() > 0;
        is_candidate.then(|| (id, region.live_bytes() as f64 / region.resident_bytes().max(1) as f64))
    })
}

fn sparsest_first(candidates: &mut [(RegionId, f64)]) {
    candidates.sort_unstable_by(|(a, a_share), (b, b_share)| a_share.total_cmp(b_share).then(a.cmp(b)));
}

/// The regions of a window that are worth evacuating, in address order, as many as there is room to build
/// destinations for.
fn choose(
    mover: &Mover,
    window: Window,
    live_share: f64,
    eagerness: Eagerness,
    plan: &mut Plan,
) -> Vec<(RegionId, f64)> {
    let space = &mover.space;
    let (mut chosen, are_all) = memory::gather(candidates(space, window).filter(|(_, share)| *share <= live_share));
    plan.truncated |= !are_all;
    if eagerness.whole_regions {
        chosen.retain(|(id, _)| space.gives_back(*id) > 0);
    }
    sparsest_first(&mut chosen);
    // To spare: the last step of each window's last destination, and in every destination the room that the next object
    // is too large for, an eighth of a region at most.
    let mut room = space.collector_room_bytes().saturating_sub(2 * POPULATE_BYTES + eagerness.spare_bytes) / 8 * 7;
    let affordable = chosen.iter().take_while(|(id, _)| {
        let live = space.regions.get(*id).live_bytes();
        let fits = live <= room;
        room = room.saturating_sub(live);
        fits
    });
    let affordable = affordable.count();
    plan.truncated |= affordable < chosen.len();
    chosen.truncate(affordable);
    if gain_bytes(space, &chosen) < eagerness.gain_bytes_min {
        chosen.clear();
    }
    chosen.sort_unstable_by_key(|(id, _)| *id);
    chosen
}

/// What evacuating some regions gives back, in bytes.
fn gain_bytes(space: &Space, chosen: &[(RegionId, f64)]) -> u64 {
    let regions = || chosen.iter().map(|(id, _)| space.regions.get(*id));
    let live: u64 = regions().map(Region::live_bytes).sum();
    // Destinations become resident in steps.
    regions().map(Region::resident_bytes).sum::<u64>().saturating_sub(live.next_multiple_of(space.step_bytes()))
}

impl Layout<'_> {
    /// Lays out one region's objects, all or none.
    fn place_region(&mut self, id: RegionId, plan: &mut Plan) -> Result<(), Shortage> {
        let space = &self.mover.space;
        let live = space.regions.get(id).live_bytes();
        if self.whole_regions {
            self.open_for(live, plan)?;
        }
        let (at, destinations) = (self.at, plan.destinations.len());
        for block in block_of(id.start())..block_of(id.end()) {
            self.mover.forwarding.begin_block(block, self.mover.marks.block(block));
        }
        if let Err(shortage) = self.place_objects(id, plan) {
            for unused in plan.destinations.drain(destinations..) {
                space.free(unused);
            }
            self.at = at;
            return Err(shortage);
        }
        plan.sources.push(id);
        plan.bytes += live;
        self.left -= live;
        Ok(())
    }

    /// Has the last destination hold all objects of a region, or none.
    fn open_for(&mut self, live: u64, plan: &Plan) -> Result<(), Shortage> {
        let (Some(at), Some(last)) = (self.at, plan.destinations.last()) else { return Ok(()) };
        if at + live <= last.end() {
            return self.mover.space.grow_destination(*last, at + live - last.start());
        }
        self.close_destination();
        self.at = None;
        Ok(())
    }

    fn place_objects(&mut self, id: RegionId, plan: &mut Plan) -> Result<(), Shortage> {
        let (space, marks) = (&self.mover.space, &self.mover.marks);
        let view = space.windows.view();
        let mut from = id.start();
        let mut placed = 0;
        let left = if self.whole_regions { space.regions.get(id).live_bytes() } else { self.left };
        while let Some(object) = marks.next_marked(from, id.end()) {
            let header = self.mover.header(view, Ref::at(object));
            let to = self.room_for(header, left - placed, plan)?;
            self.mover.forwarding.record(Ref::at(object), Ref::at(to));
            self.mover.origins_of(to, to + header.bytes(), Ref::at(object));
            self.at = Some(to + header.bytes());
            placed += header.bytes();
            from = object + header.bytes();
        }
        Ok(())
    }

    /// Where the next object goes: behind the last one, or at the start of another destination.
    fn room_for(&mut self, header: Header, left: u64, plan: &mut Plan) -> Result<u64, Shortage> {
        if let Some(at) = self.at
            && at + header.bytes() <= plan.destinations.last().map_or(0, |id| id.end())
        {
            return Ok(at);
        }
        let resident = left.min(REGION_BYTES);
        memory::reserve(&mut plan.destinations, 1).map_err(|refused| Shortage::Kernel(refused.into()))?;
        let id = self.mover.space.take_destination(self.window, resident)?;
        // Closed only now: a shortage must leave the layout as it was.
        self.close_destination();
        plan.destinations.push(id);
        Ok(id.start())
    }

    /// Notes how much of the last destination is used.
    fn close_destination(&mut self) {
        if let Some(at) = self.at {
            let id = RegionId::of(at - 8);
            self.mover.space.regions.get(id).set_used_bytes(at - id.start());
        }
    }
}
