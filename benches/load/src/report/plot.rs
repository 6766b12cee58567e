//! [`Plot`]: lines over two axes, as SVG. Either axis may be logarithmic.

use std::fmt::Write;

/// The colours of the series, in order; told apart by the colour-blind, too (Okabe and Ito).
pub const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999",
];

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 88.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 52.0;

/// How a value becomes a place on an axis.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    Linear,
    Logarithmic,
    /// Percentiles: each nine as wide as the one before.
    Nines,
}

/// One axis.
pub struct Axis {
    pub title: &'static str,
    pub scale: Scale,
    pub show: fn(f64) -> String,
}

/// One line, drawn in the order of its points.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    pub has_dots: bool,
}

/// A plot of some series.
pub struct Plot {
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

impl Plot {
    /// The whole element; nothing if there is nothing to show.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let Some(x) = Range::of(self.x.scale, points().map(|point| point.0)) else {
            return String::new();
        };
        let Some(y) = Range::of(self.y.scale, points().map(|point| point.1)) else {
            return String::new();
        };
        let at_x = |value: f64| LEFT + x.part(value) * (WIDTH - LEFT - RIGHT);
        let at_y = |value: f64| HEIGHT - BOTTOM - y.part(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} by {}\">",
            escape(self.y.title),
            escape(self.x.title)
        );
        // Writing to a String does not fail.
        for tick in y.ticks(7) {
            let (place, right) = (at_y(tick), WIDTH - RIGHT);
            let _ = write!(
                svg,
                "<path class=grid d=\"M{LEFT} {place:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=end>{}</text>",
                LEFT - 8.0,
                place + 4.0,
                escape(&(self.y.show)(tick))
            );
        }
        for tick in x.ticks(9) {
            let (place, bottom) = (at_x(tick), HEIGHT - BOTTOM);
            let _ = write!(
                svg,
                "<path class=grid d=\"M{place:.1} {TOP}V{bottom}\"/>\
                 <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=middle>{}</text>",
                bottom + 18.0,
                escape(&(self.x.show)(tick))
            );
        }
        let _ = write!(
            svg,
            "<text class=title x=\"{:.1}\" y=\"{:.1}\" text-anchor=middle>{}</text>\
             <text class=title transform=\"translate(14 {:.1}) rotate(-90)\" \
             text-anchor=middle>{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 10.0,
            escape(self.x.title),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escape(self.y.title)
        );
        for (number, series) in self.series.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let places = series.points.iter();
            let places = places.map(|point| format!("{:.1} {:.1}", at_x(point.0), at_y(point.1)));
            let path = places.collect::<Vec<_>>().join("L");
            let _ = write!(svg, "<path class=line stroke=\"{colour}\" d=\"M{path}\"/>");
            for point in series.points.iter().filter(|_| series.has_dots) {
                let _ = write!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"><title>{}: {} at {}\
                     </title></circle>",
                    at_x(point.0),
                    at_y(point.1),
                    escape(&series.name),
                    escape(&(self.y.show)(point.1)),
                    escape(&(self.x.show)(point.0))
                );
            }
        }
        svg.push_str("</svg>");
        svg + &self.legend()
    }

    fn legend(&self) -> String {
        let mut legend = String::from("<p class=legend>");
        for (number, series) in self.series.iter().enumerate() {
            let _ = write!(
                legend,
                "<span><i style=\"background:{}\"></i>{}</span> ",
                COLOURS[number % COLOURS.len()],
                escape(&series.name)
            );
        }
        legend + "</p>"
    }
}

/// What an axis spans.
struct Range {
    scale: Scale,
    least: f64,
    most: f64,
}

impl Range {
    /// Spans the values that are numbers and have a place on the scale; `None` if there are none.
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Range> {
        let has_place =
            |value: &f64| value.is_finite() && (scale != Scale::Logarithmic || *value > 0.0);
        let values: Vec<f64> = values.filter(has_place).collect();
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        let (least, most) = match scale {
            // Costs are compared by their heights, so they stand on nought.
            Scale::Linear => (least.min(0.0), if most > 0.0 { most * 1.1 } else { 1.0 }),
            Scale::Logarithmic if most / least < 4.0 => (least / 2.0, most * 2.0),
            Scale::Logarithmic => (least * 0.9, most * 1.15),
            Scale::Nines => (0.0, most.clamp(90.0, 99.9999)),
        };
        Some(Range { scale, least, most })
    }

    /// Where a value is, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let place = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Nines => -(1.0 - value / 100.0).max(1e-7).log10(),
        };
        let (least, most) = (place(self.least), place(self.most));
        ((place(value) - least) / (most - least)).clamp(0.0, 1.0)
    }

    /// At most so many round values.
    fn ticks(&self, count: usize) -> Vec<f64> {
        match self.scale {
            Scale::Nines => [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999]
                .into_iter()
                .filter(|tick| *tick <= self.most + 1e-9)
                .collect(),
            Scale::Logarithmic => self.powers(count),
            Scale::Linear => {
                let rough = (self.most - self.least) / count as f64;
                let power = 10f64.powf(rough.log10().floor());
                let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
                let step = steps
                    .into_iter()
                    .find(|step| *step >= rough)
                    .unwrap_or(rough);
                let first = (self.least / step).ceil() as i64;
                (first..)
                    .map(|number| number as f64 * step)
                    .take_while(|tick| *tick <= self.most)
                    .collect()
            }
        }
    }

    /// 1, 2 and 5 times the powers of ten, or the powers alone where those are too many.
    fn powers(&self, count: usize) -> Vec<f64> {
        let powers = self.least.log10().floor() as i32..=self.most.log10().ceil() as i32;
        let fine = [1.0, 2.0, 5.0].as_slice();
        let ticks = |factors: &[f64]| -> Vec<f64> {
            powers
                .clone()
                .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
                .filter(|tick| (self.least..=self.most).contains(tick))
                .collect()
        };
        match ticks(fine) {
            fine if fine.len() <= count => fine,
            _ => ticks(&[1.0]),
        }
    }
}

/// Text for HTML, attributes included.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(scale: Scale, values: &[f64]) -> Range {
        Range::of(scale, values.iter().copied()).unwrap()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(
            range(Scale::Linear, &[3.0, 9.0]).ticks(5),
            [0.0, 2.0, 4.0, 6.0, 8.0]
        );
        let logarithmic = range(Scale::Logarithmic, &[100.0, 1e6]).ticks(9);
        assert_eq!(logarithmic, [100.0, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!(
            range(Scale::Nines, &[0.0, 99.9]).ticks(9),
            [0.0, 50.0, 90.0, 99.0, 99.9]
        );
    }

    #[test]
    fn every_nine_is_as_wide_as_the_one_before() {
        let range = range(Scale::Nines, &[99.9]);
        let width = |from: f64, to: f64| range.part(to) - range.part(from);
        assert!((width(0.0, 90.0) - width(90.0, 99.0)).abs() < 1e-9);
        assert!((width(90.0, 99.0) - width(99.0, 99.9)).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(Range::of(Scale::Linear, [f64::NAN].into_iter()).is_none());
        assert!(Range::of(Scale::Logarithmic, [0.0].into_iter()).is_none());
    }
}
