//! The labelled shapes: what programs do with memory, leaking and not.
//!
//! Each is a function of the share of the window that has passed. The label
//! says what the program does, not what the rule should make of it.

use grey_model::Trace;

use crate::random::Random;
use crate::setting::{Lot, Setting};

/// Is it a leak?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    /// Grows without end, at a rate that the thresholds ask for.
    Leaking,
    /// Does not.
    Sound,
    /// Does not, but within this window nothing tells it from a leak. Not
    /// counted; listed, so that nobody is surprised.
    Undecidable,
}

/// How a shape is made.
type Make = fn(&mut Random, &Setting) -> Vec<(f64, f64, u64)>;

/// A shape with its name and label.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) label: Label,
    make: Make,
    /// A window of its own, where that is the point.
    window: Option<(f64, f64)>,
}

impl Shape {
    /// The trace number `index` of this shape.
    pub(crate) fn trace(&self, lot: Lot, index: u64) -> Trace {
        // Shapes that share an index must not share their numbers.
        let own: u64 = self.name.bytes().fold(17, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let mut random = Random::new(lot.seed(index) ^ own);
        let mut setting = Setting::draw(lot, &mut random);
        if let Some((window, interval)) = self.window {
            setting = setting.over(window, interval);
        }
        let readings = (self.make)(&mut random, &setting);
        setting.trace(&readings)
    }
}

/// Readings of one life: `value` with white noise.
fn noisy(
    random: &mut Random,
    setting: &Setting,
    value: impl Fn(f64) -> f64,
) -> Vec<(f64, f64, u64)> {
    let level = setting.noise;
    with(setting, |moment| value(moment) + level * random.normal())
}

/// Readings of one life, as they are.
fn with(setting: &Setting, mut value: impl FnMut(f64) -> f64) -> Vec<(f64, f64, u64)> {
    let moments = setting.moments();
    moments
        .into_iter()
        .map(|moment| (moment, value(moment), 0))
        .collect()
}

/// Noise that resembles its neighbours, with the deviation of the setting.
fn wandering(random: &mut Random, setting: &Setting, related: f64) -> Vec<f64> {
    let fresh = setting.noise * (1.0 - related * related).sqrt();
    let mut now = setting.noise * random.normal();
    let mut values = Vec::new();
    for _ in setting.moments() {
        values.push(now);
        now = now * related + fresh * random.normal();
    }
    values
}

/// A tooth: 0 to 1 over each period.
fn tooth(moment: f64, periods: f64, phase: f64) -> f64 {
    (moment * periods + phase).fract()
}

fn ramp(moment: f64, start: f64) -> f64 {
    ((moment - start) / (1.0 - start)).max(0.0)
}

fn leaking(name: &'static str, make: Make) -> Shape {
    Shape {
        name,
        label: Label::Leaking,
        make,
        window: None,
    }
}

fn sound(name: &'static str, make: Make) -> Shape {
    Shape {
        name,
        label: Label::Sound,
        make,
        window: None,
    }
}

impl Shape {
    const fn over(mut self, window: f64, interval: f64) -> Self {
        self.window = Some((window, interval));
        self
    }

    const fn undecidable(mut self) -> Self {
        self.label = Label::Undecidable;
        self
    }
}

/// The shapes of a lot.
pub(crate) fn of(lot: Lot) -> Vec<Shape> {
    let mut shapes = leaks();
    shapes.extend(leaks_with_company());
    shapes.extend(calm());
    shapes.extend(grown());
    shapes.extend(cyclic());
    shapes.extend(beyond_the_window());
    if lot == Lot::HeldOut {
        shapes.extend(unseen());
    }
    shapes
}

/// Shapes that the rule was not developed on.
fn unseen() -> Vec<Shape> {
    vec![
        leaking("unseen: leak, a part is freed once", |random, setting| {
            let (growth, at) = (setting.growth, random.between(0.3, 0.7));
            noisy(random, setting, |moment| {
                let freed = if moment < at { 0.0 } else { growth / 2.0 };
                1.0 + 2.0 * growth * moment - freed
            })
        }),
        leaking("unseen: leak whose rate doubles", |random, setting| {
            let growth = setting.growth;
            noisy(random, setting, |moment| {
                1.0 + growth * (moment + (moment - 0.5).max(0.0))
            })
        }),
        sound("unseen: a heap that is enlarged once", |random, setting| {
            let (periods, at) = (random.between(6.0, 10.0), random.between(0.2, 0.8));
            let (high, more) = (random.between(0.3, 0.8), random.between(0.2, 0.6));
            let quiet = Setting {
                noise: setting.noise / 5.0,
                ..*setting
            };
            noisy(random, &quiet, |moment| {
                let larger = if moment < at { 0.0 } else { more };
                1.0 + larger + high * tooth(moment, periods, 0.0)
            })
        }),
        sound("unseen: a peak that drains slowly", |random, setting| {
            let (high, time) = (random.between(0.3, 2.0), random.between(0.1, 0.3));
            noisy(random, setting, |moment| {
                1.0 + high * (-moment / time).exp()
            })
        }),
        sound(
            "unseen: two caches, one after the other",
            |random, setting| {
                let (one, two) = (random.between(0.2, 1.0), random.between(0.2, 1.0));
                noisy(random, setting, |moment| {
                    let second = ((moment - 0.45) / 0.15).clamp(0.0, 1.0);
                    1.0 + one * (moment / 0.2).min(1.0) + two * second
                })
            },
        ),
    ]
}

fn leaks() -> Vec<Shape> {
    vec![
        leaking("leak, clean", |_, setting| {
            let growth = setting.growth;
            with(setting, |moment| 1.0 + growth * moment)
        }),
        leaking("leak, white noise", |random, setting| {
            let growth = setting.growth;
            noisy(random, setting, |moment| 1.0 + growth * moment)
        }),
        leaking("leak, 60 s at 5 s", |random, setting| {
            let growth = setting.growth;
            let quiet = Setting {
                noise: setting.noise / 4.0,
                ..*setting
            };
            noisy(random, &quiet, |moment| 1.0 + growth * moment)
        })
        .over(60.0, 5.0),
        leaking("leak, noise that wanders", |random, setting| {
            let noise = wandering(random, setting, 0.7);
            let mut noise = noise.into_iter();
            let growth = setting.growth;
            with(setting, |moment| {
                1.0 + growth * moment + noise.next().unwrap_or_default()
            })
        }),
        leaking("leak in chunks", |random, setting| {
            let (growth, chunks) = (setting.growth, random.between(6.0, 15.0).round());
            noisy(
                random,
                &Setting {
                    noise: setting.noise / 10.0,
                    ..*setting
                },
                |moment| 1.0 + growth * (moment * chunks).floor() / chunks,
            )
        }),
        leaking("leak in bursts", |random, setting| {
            let (count, growth) = (random.between(25.0, 50.0), setting.growth);
            let mut now = 1.0;
            let per_reading = count / (setting.window / setting.interval);
            let quiet = setting.noise / 10.0;
            with(setting, |_| {
                if random.chance(per_reading.min(1.0)) {
                    now += growth / count * random.between(0.5, 1.5);
                }
                now + quiet * random.normal()
            })
        }),
        leaking("leak that begins late", |random, setting| {
            let (growth, start) = (setting.growth, random.between(0.25, 0.5));
            noisy(
                random,
                &Setting {
                    noise: setting.noise / 2.0,
                    ..*setting
                },
                |moment| 1.0 + growth * ramp(moment, start),
            )
        }),
        leaking("leak that gets faster", |random, setting| {
            let growth = setting.growth;
            noisy(random, setting, |moment| 1.0 + growth * moment * moment)
        }),
        leaking("leak, irregular readings", |random, setting| {
            let growth = setting.growth;
            let mut readings = noisy(random, setting, |moment| 1.0 + growth * moment);
            readings.retain(|_| random.chance(0.6));
            readings
        }),
    ]
}

fn leaks_with_company() -> Vec<Shape> {
    vec![
        leaking("leak after a warm-up", |random, setting| {
            let (growth, warm) = (setting.growth, random.between(0.2, 1.0));
            noisy(
                random,
                &Setting {
                    noise: setting.noise / 2.0,
                    ..*setting
                },
                |moment| 1.0 + warm * (moment / 0.12).min(1.0) + 2.0 * growth * moment,
            )
        }),
        leaking("leak with lone spikes", |random, setting| {
            let growth = setting.growth;
            let mut readings = noisy(random, setting, |moment| 1.0 + growth * moment);
            for reading in &mut readings {
                if random.chance(0.05) {
                    reading.1 += random.between(0.5, 2.0);
                }
            }
            readings
        }),
        leaking("leak under a collector", |random, setting| {
            let (growth, periods) = (setting.growth, random.between(6.0, 9.0));
            let (high, phase) = (random.between(0.2, 0.6), random.between(0.0, 1.0));
            noisy(
                random,
                &Setting {
                    noise: setting.noise / 5.0,
                    ..*setting
                },
                |moment| 1.0 + growth * moment + high * tooth(moment, periods, phase),
            )
        }),
        leaking("leak under a periodic load", |random, setting| {
            let (growth, periods) = (setting.growth, random.between(5.0, 8.0));
            let high = random.between(0.1, 0.3);
            noisy(
                random,
                &Setting {
                    noise: setting.noise / 5.0,
                    ..*setting
                },
                |moment| {
                    1.0 + growth * moment + high * (moment * periods * std::f64::consts::TAU).sin()
                },
            )
        }),
        leaking("leak that restarts", |random, setting| {
            let (growth, cut) = (setting.growth, random.between(0.2, 0.5));
            let quiet = setting.noise / 2.0;
            let moments = setting.moments();
            let readings = moments.into_iter().map(|moment| {
                let life = u64::from(moment >= cut);
                let since = if life == 0 {
                    moment + 0.5
                } else {
                    moment - cut
                };
                let value = 1.0 + 2.0 * growth * since + quiet * random.normal();
                (moment, value, life)
            });
            readings.collect()
        }),
        leaking("leak of 1 MB/min, 200 MB, 5 % noise", |random, setting| {
            let share = 1e6 / setting.base;
            with(setting, |moment| {
                let minutes = moment * setting.window / 60.0;
                share * (200.0 + minutes + random.between(-10.0, 10.0))
            })
        })
        .over(600.0, 5.0),
    ]
}

fn calm() -> Vec<Shape> {
    vec![
        sound("constant", |_, setting| with(setting, |_| 1.0)),
        sound("white noise", |random, setting| {
            let loud = Setting {
                noise: setting.noise * 2.0,
                ..*setting
            };
            noisy(random, &loud, |_| 1.0)
        }),
        sound("white noise, 60 s at 5 s", |random, setting| {
            noisy(random, setting, |_| 1.0)
        })
        .over(60.0, 5.0),
        sound("noise that wanders", |random, setting| {
            let mut noise = wandering(random, setting, 0.7).into_iter();
            with(setting, |_| 1.0 + noise.next().unwrap_or_default())
        }),
        sound("noise that wanders slowly", |random, setting| {
            let mut noise = wandering(random, setting, 0.92).into_iter();
            with(setting, |_| 1.0 + noise.next().unwrap_or_default())
        }),
        sound("noise with heavy tails", |random, setting| {
            let level = setting.noise;
            with(setting, |_| {
                let wild = if random.chance(0.1) { 8.0 } else { 1.0 };
                1.0 + level * wild * random.normal().abs()
            })
        }),
        sound("one spike", |random, setting| {
            let mut readings = noisy(random, setting, |_| 1.0);
            let place = readings.len() * 2 / 3;
            readings[place].1 += random.between(0.3, 2.0);
            readings
        }),
        sound("a peak in the last readings", |random, setting| {
            let mut readings = noisy(random, setting, |_| 1.0);
            let last = readings.len() - 1;
            readings[last].1 += random.between(0.3, 1.0);
            readings[last - 1].1 += random.between(0.3, 1.0);
            readings
        }),
        sound("shrinking", |random, setting| {
            let growth = setting.growth.min(0.8);
            noisy(random, setting, |moment| 1.0 - growth * moment)
        }),
        sound("freed once", |random, setting| {
            let (at, fall) = (random.between(0.2, 0.8), random.between(0.2, 0.7));
            noisy(
                random,
                setting,
                |moment| if moment < at { 1.0 } else { 1.0 - fall },
            )
        }),
        sound("grows, too little to matter", |random, setting| {
            let share = random.between(0.002, 0.02) * setting.window / 3600.0;
            let quiet = Setting {
                noise: setting.noise / 10.0,
                ..*setting
            };
            noisy(random, &quiet, |moment| 1.0 + share * moment)
        }),
    ]
}

fn grown() -> Vec<Shape> {
    vec![
        sound("warm-up, exponential", |random, setting| {
            let (high, time) = (random.between(0.3, 4.0), random.between(0.05, 0.25));
            noisy(random, setting, |moment| {
                1.0 + high * (1.0 - (-moment / time).exp())
            })
        }),
        sound("warm-up, 60 s at 5 s", |random, setting| {
            let (high, time) = (random.between(0.3, 4.0), random.between(0.05, 0.2));
            let quiet = Setting {
                noise: setting.noise / 4.0,
                ..*setting
            };
            noisy(random, &quiet, |moment| {
                1.0 + high * (1.0 - (-moment / time).exp())
            })
        })
        .over(60.0, 5.0),
        sound("a cache that fills up", |random, setting| {
            let (high, full) = (random.between(0.3, 3.0), random.between(0.2, 0.65));
            noisy(random, setting, |moment| {
                1.0 + high * (moment / full).min(1.0)
            })
        }),
        sound("grows with the logarithm of time", |random, setting| {
            let high = random.between(0.05, 0.3);
            noisy(random, setting, |moment| {
                1.0 + high * (1.0 + 100.0 * moment).ln() / 4.6
            })
        }),
        sound("one step", |random, setting| {
            let (at, high) = (random.between(0.15, 0.85), random.between(0.2, 2.0));
            noisy(
                random,
                setting,
                |moment| if moment < at { 1.0 } else { 1.0 + high },
            )
        }),
        sound("two steps", |random, setting| {
            let (first, second) = (random.between(0.1, 0.4), random.between(0.6, 0.85));
            let (low, high) = (random.between(0.2, 1.0), random.between(0.2, 1.0));
            noisy(random, setting, |moment| {
                let one = if moment < first { 0.0 } else { low };
                let two = if moment < second { 0.0 } else { high };
                1.0 + one + two
            })
        }),
        sound("work that is done and freed", |random, setting| {
            let (begin, end) = (random.between(0.1, 0.3), random.between(0.6, 0.9));
            let high = random.between(0.3, 3.0);
            noisy(random, setting, |moment| {
                if (begin..end).contains(&moment) {
                    1.0 + high
                } else {
                    1.0
                }
            })
        }),
        sound("restarts and warms up each time", |random, setting| {
            let (cut, high) = (random.between(0.3, 0.6), random.between(0.5, 3.0));
            let quiet = setting.noise / 2.0;
            let moments = setting.moments();
            let readings = moments.into_iter().map(|moment| {
                let life = u64::from(moment >= cut);
                let since = if life == 0 { moment } else { moment - cut };
                let value = 1.0 + high * (1.0 - (-since / 0.05).exp());
                (moment, value + quiet * random.normal(), life)
            });
            readings.collect()
        }),
        sound("restarts into a larger version", |random, setting| {
            let (cut, high) = (random.between(0.3, 0.7), random.between(0.3, 2.0));
            let quiet = setting.noise;
            let moments = setting.moments();
            let readings = moments.into_iter().map(|moment| {
                let life = u64::from(moment >= cut);
                let value = if life == 0 { 1.0 } else { 1.0 + high };
                (moment, value + quiet * random.normal(), life)
            });
            readings.collect()
        }),
    ]
}

fn cyclic() -> Vec<Shape> {
    vec![
        sound("collector, regular", |random, setting| {
            let (periods, high) = (random.between(2.3, 9.0), random.between(0.2, 2.0));
            let phase = random.between(0.0, 1.0);
            noisy(
                random,
                &Setting {
                    noise: setting.noise / 5.0,
                    ..*setting
                },
                |moment| 1.0 + high * tooth(moment, periods, phase),
            )
        }),
        sound("collector, irregular", |random, setting| {
            let rate = random.between(3.0, 8.0) / (setting.window / setting.interval);
            let (mut now, mut most) = (random.between(0.0, 0.5), random.between(0.6, 1.4));
            with(setting, |_| {
                now += rate * random.between(0.6, 1.4);
                if now > most {
                    now = random.between(0.0, 0.15);
                    most = random.between(0.6, 1.4);
                }
                1.0 + now
            })
        }),
        sound("collector of two generations", |random, setting| {
            let (major, minor) = (random.between(2.3, 4.5), random.between(14.0, 22.0));
            let phase = random.between(0.0, 1.0);
            noisy(
                random,
                &Setting {
                    noise: setting.noise / 10.0,
                    ..*setting
                },
                |moment| {
                    1.0 + 0.6 * tooth(moment, major, phase) + 0.12 * tooth(moment, minor, phase)
                },
            )
        }),
        sound("collector whose heap warms up", |random, setting| {
            let (periods, high) = (random.between(7.0, 11.0), random.between(0.3, 0.8));
            let rise = random.between(0.3, 1.0);
            noisy(
                random,
                &Setting {
                    noise: setting.noise / 5.0,
                    ..*setting
                },
                |moment| {
                    let floor = rise * (1.0 - (-moment / 0.12).exp());
                    1.0 + floor + high * tooth(moment, periods, 0.0)
                },
            )
        }),
        sound("load that comes and goes", |random, setting| {
            let (periods, high) = (random.between(2.2, 7.0), random.between(0.1, 0.6));
            let phase = random.between(0.0, std::f64::consts::TAU);
            noisy(
                random,
                &Setting {
                    noise: setting.noise / 3.0,
                    ..*setting
                },
                |moment| 1.0 + high * (moment * periods * std::f64::consts::TAU + phase).sin(),
            )
        }),
        sound("jobs of different size", |random, setting| {
            let length = random.between(0.08, 0.15);
            let (mut until, mut size) = (0.0, 0.0);
            let mut readings = noisy(random, setting, |_| 1.0);
            for reading in &mut readings {
                if reading.0 >= until {
                    until = reading.0 + length;
                    size = if random.chance(0.5) {
                        random.between(0.2, 1.0)
                    } else {
                        0.0
                    };
                }
                reading.1 += size;
            }
            readings
        }),
    ]
}

fn beyond_the_window() -> Vec<Shape> {
    vec![
        sound("a collector slower than the window", |random, setting| {
            let high = random.between(0.3, 2.0);
            noisy(random, setting, |moment| 1.0 + high * moment)
        })
        .undecidable(),
        sound("a cache that fills up later", |random, setting| {
            let high = random.between(0.3, 2.0);
            let full = random.between(1.2, 3.0);
            noisy(random, setting, |moment| 1.0 + high * moment / full)
        })
        .undecidable(),
        sound("a random walk", |random, setting| {
            let mut now = 1.0;
            let pace = 0.25 / (setting.window / setting.interval).sqrt();
            with(setting, |_| {
                now += pace * random.normal();
                f64::max(now, 0.1)
            })
        })
        .undecidable(),
    ]
}
