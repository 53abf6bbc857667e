//! The images that a crash may leave, at every point of a trace.

use std::fmt;

use crate::lines::{Line, Lines, Piece};
use crate::recorder::{Event, Trace};

/// In which order stores to one line arrive.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum LineOrder {
    /// As the program made them, as on x86.
    Program,
    /// In any order.
    None,
}

/// One image, given to the checker.
#[derive(Debug)]
pub struct Crash<'a> {
    /// The region after the crash; the checker may change it, as a recovery does.
    pub image: &'a mut [u8],
    /// The last mark before the crash, 0 if there was none.
    pub mark: u64,
    /// How many events had happened.
    pub event: usize,
}

/// What was looked at.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Explored {
    /// Points of the trace at which the power was cut.
    pub points: usize,
    /// Images given to the checker.
    pub images: usize,
    /// Whether these were all there are; otherwise some points were sampled.
    pub all_states: bool,
}

/// An image that the checker does not accept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What the checker said.
    pub message: String,
    /// How many events had happened.
    pub event: usize,
    /// The last mark before.
    pub mark: u64,
    /// Stores that did not arrive, as offset and length.
    pub lost: Vec<(usize, usize)>,
    /// Repeats the exploration.
    pub seed: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (crash after event {}, mark {}; lost, as offset and length: {:?}; CRASH_SEED={})",
            self.message, self.event, self.mark, self.lost, self.seed
        )
    }
}

impl std::error::Error for Violation {}

/// Cuts the power at every point of a trace.
///
/// Points are: before each fence, at each mark, and at the end. States of other points are among theirs.
#[derive(Clone, Debug)]
pub struct Explorer {
    limit: usize,
    order: LineOrder,
    seed: u64,
}

impl Default for Explorer {
    fn default() -> Explorer {
        Explorer::new()
    }
}

impl Explorer {
    /// At most 512 images at each point, stores to a line in program order; the seed is that of the variable
    /// `CRASH_SEED`, or another one each time.
    #[must_use]
    pub fn new() -> Explorer {
        let given = std::env::var("CRASH_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            pmem_core::sys::fill_random(&mut bytes);
            u64::from_ne_bytes(bytes)
        });
        Explorer { limit: 512, order: LineOrder::Program, seed }
    }

    /// At most so many images at each point.
    #[must_use]
    pub fn limit(mut self, images: usize) -> Explorer {
        self.limit = images.max(4);
        self
    }

    /// The model of the cache.
    #[must_use]
    pub fn order(mut self, order: LineOrder) -> Explorer {
        self.order = order;
        self
    }

    /// The seed of what is sampled.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Explorer {
        self.seed = seed;
        self
    }

    /// Gives the images to `check`.
    ///
    /// # Errors
    /// The first image that `check` does not accept.
    pub fn explore(
        &self,
        trace: &Trace,
        mut check: impl FnMut(Crash<'_>) -> Result<(), String>,
    ) -> Result<Explored, Violation> {
        let mut run = Run {
            explorer: self,
            durable: trace.initial.clone(),
            image: trace.initial.clone(),
            random: Random(self.seed | 1),
            explored: Explored { points: 0, images: 0, all_states: true },
            mark: 0,
        };
        let mut lines = Lines::default();
        for (number, event) in trace.events.iter().enumerate() {
            if *event == Event::Fence {
                run.point(number, &lines, &mut check)?;
            }
            for store in lines.apply(event) {
                for piece in &store.pieces {
                    piece.put(&mut run.durable);
                }
            }
            if let Event::Mark(mark) = event {
                run.mark = *mark;
                run.point(number + 1, &lines, &mut check)?;
            }
        }
        run.point(trace.events.len(), &lines, &mut check)?;
        Ok(run.explored)
    }
}

impl Piece {
    fn put(&self, image: &mut [u8]) {
        image[self.offset..self.offset + self.bytes.len()].copy_from_slice(&self.bytes);
    }
}

/// What of one line arrives: this many stores, and these pieces of the next one; or, without an order, these pieces
/// of all stores.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Arrival {
    stores: usize,
    pieces: u64,
}

struct Run<'e> {
    explorer: &'e Explorer,
    durable: Vec<u8>,
    image: Vec<u8>,
    random: Random,
    explored: Explored,
    mark: u64,
}

impl Run<'_> {
    fn point(
        &mut self,
        event: usize,
        lines: &Lines,
        check: &mut impl FnMut(Crash<'_>) -> Result<(), String>,
    ) -> Result<(), Violation> {
        self.explored.points += 1;
        let lines: Vec<&Line> = lines.pending.values().collect();
        let order = self.explorer.order;
        let limit = self.explorer.limit;
        let counts: Vec<usize> = lines.iter().map(|line| line.count(order, limit)).collect();
        let all = counts.iter().try_fold(1usize, |product, &count| {
            product.checked_mul(count).filter(|&product| product <= limit)
        });
        if all.is_some() {
            let choices: Vec<Vec<Arrival>> = lines.iter().map(|line| line.all(order)).collect();
            let mut counter = vec![0; lines.len()];
            loop {
                let choice: Vec<Arrival> =
                    counter.iter().zip(&choices).map(|(&at, choices)| choices[at]).collect();
                self.try_one(event, &lines, &choice, check)?;
                // Counts up, with one digit per line.
                let Some(digit) = (0..counter.len()).find(|&i| counter[i] + 1 < choices[i].len())
                else {
                    return Ok(());
                };
                counter[digit] += 1;
                counter[..digit].fill(0);
            }
        }
        self.explored.all_states = false;
        let none: Vec<Arrival> = lines.iter().map(|_| Arrival { stores: 0, pieces: 0 }).collect();
        let whole: Vec<Arrival> = lines.iter().map(|line| line.everything(order)).collect();
        self.try_one(event, &lines, &none, check)?;
        self.try_one(event, &lines, &whole, check)?;
        // All but one line, only one line.
        for at in (0..lines.len()).take(limit / 4) {
            let mut choice = whole.clone();
            choice[at] = none[at];
            self.try_one(event, &lines, &choice, check)?;
            let mut choice = none.clone();
            choice[at] = whole[at];
            self.try_one(event, &lines, &choice, check)?;
        }
        for _ in 0..limit / 2 {
            let random = &mut self.random;
            let choice: Vec<Arrival> = lines.iter().map(|line| line.any(order, random)).collect();
            self.try_one(event, &lines, &choice, check)?;
        }
        Ok(())
    }

    fn try_one(
        &mut self,
        event: usize,
        lines: &[&Line],
        choice: &[Arrival],
        check: &mut impl FnMut(Crash<'_>) -> Result<(), String>,
    ) -> Result<(), Violation> {
        self.explored.images += 1;
        self.image.copy_from_slice(&self.durable);
        for (line, arrival) in lines.iter().zip(choice) {
            for (piece, arrived) in line.pieces(self.explorer.order, *arrival) {
                if arrived {
                    piece.put(&mut self.image);
                }
            }
        }
        let crash = Crash { image: &mut self.image, mark: self.mark, event };
        check(crash).map_err(|message| Violation {
            message,
            event,
            mark: self.mark,
            lost: self.lost(lines, choice),
            seed: self.explorer.seed,
        })
    }

    fn lost(&self, lines: &[&Line], choice: &[Arrival]) -> Vec<(usize, usize)> {
        let pieces = lines.iter().zip(choice);
        let pieces = pieces.flat_map(|(line, arrival)| line.pieces(self.explorer.order, *arrival));
        let lost = pieces.filter(|(_, arrived)| !arrived);
        lost.map(|(piece, _)| (piece.offset, piece.bytes.len())).collect()
    }
}

/// The bits of the first `count` pieces; the rest always arrives.
fn mask(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

impl Line {
    fn piece_count(&self) -> usize {
        self.stores.iter().map(|store| store.pieces.len()).sum()
    }

    /// How many arrivals there are; more than `limit` count as `limit + 1`.
    fn count(&self, order: LineOrder, limit: usize) -> usize {
        let subsets = |pieces: usize| {
            if pieces < 20 { (1usize << pieces).min(limit + 1) } else { limit + 1 }
        };
        match order {
            LineOrder::None => subsets(self.piece_count()),
            LineOrder::Program => {
                let torn = self.stores.iter().map(|store| subsets(store.pieces.len()) - 1);
                torn.fold(1usize, usize::saturating_add).min(limit + 1)
            }
        }
    }

    /// All arrivals. Only for a line with few.
    fn all(&self, order: LineOrder) -> Vec<Arrival> {
        match order {
            LineOrder::None => {
                (0..=mask(self.piece_count())).map(|pieces| Arrival { stores: 0, pieces }).collect()
            }
            LineOrder::Program => {
                let mut all = vec![];
                for (stores, store) in self.stores.iter().enumerate() {
                    // With all of its pieces it is the next number of stores.
                    let whole = mask(store.pieces.len());
                    all.extend((0..whole).map(|pieces| Arrival { stores, pieces }));
                }
                all.push(Arrival { stores: self.stores.len(), pieces: 0 });
                all
            }
        }
    }

    fn everything(&self, order: LineOrder) -> Arrival {
        match order {
            LineOrder::None => Arrival { stores: 0, pieces: u64::MAX },
            LineOrder::Program => Arrival { stores: self.stores.len(), pieces: 0 },
        }
    }

    /// A random arrival: nothing, everything, or anything.
    fn any(&self, order: LineOrder, random: &mut Random) -> Arrival {
        match random.below(4) {
            0 => Arrival { stores: 0, pieces: 0 },
            1 => self.everything(order),
            _ => match order {
                LineOrder::None => Arrival { stores: 0, pieces: random.next() },
                LineOrder::Program => {
                    let stores = random.below(self.stores.len() + 1);
                    let pieces = if random.below(2) == 0 { 0 } else { random.next() };
                    Arrival { stores, pieces }
                }
            },
        }
    }

    /// All pieces in program order, and whether they arrive.
    fn pieces(&self, order: LineOrder, arrival: Arrival) -> impl Iterator<Item = (&Piece, bool)> {
        let has = move |number: usize| arrival.pieces >> (number % 64) & 1 != 0;
        let mut number_of_all = 0;
        self.stores.iter().enumerate().flat_map(move |(number, store)| {
            let first = number_of_all;
            number_of_all += store.pieces.len();
            store.pieces.iter().enumerate().map(move |(at, piece)| {
                let arrived = match order {
                    LineOrder::None => has(first + at),
                    LineOrder::Program => {
                        number < arrival.stores || number == arrival.stores && has(at)
                    }
                };
                (piece, arrived)
            })
        })
    }
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }
}
