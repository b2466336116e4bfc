//! Line charts as SVG, legible on light and on dark pages.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 4] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];

/// A chart.
pub(crate) struct Chart {
    title: String,
    x: &'static str,
    y: &'static str,
    /// Names of the places 0, 1, 2... on the x axis, in place of numbers.
    names: Vec<String>,
    /// True for a logarithmic y axis.
    logarithmic: bool,
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Chart {
    pub(crate) fn new(title: impl Into<String>, x: &'static str, y: &'static str) -> Self {
        Self {
            title: title.into(),
            x,
            y,
            names: Vec::new(),
            logarithmic: false,
            lines: Vec::new(),
        }
    }

    pub(crate) fn with(
        mut self,
        lines: impl IntoIterator<Item = (String, Vec<(f64, f64)>)>,
    ) -> Self {
        self.lines.extend(lines);
        self
    }

    /// x are places in this list of names.
    pub(crate) fn named(self, names: Vec<String>) -> Self {
        Self { names, ..self }
    }

    pub(crate) fn logarithmic(self) -> Self {
        Self {
            logarithmic: true,
            ..self
        }
    }

    pub(crate) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let max_x = match self.names.len() {
            0 => nice(points().map(|(x, _)| *x).fold(1.0, f64::max)),
            names => (names - 1).max(1) as f64,
        };
        let max_y = points()
            .map(|(_, y)| *y)
            .fold(if self.logarithmic { 1.0 } else { 0.0 }, f64::max);
        let (low, high) = if self.logarithmic {
            let min_y = points()
                .map(|(_, y)| *y)
                .filter(|y| *y > 0.0)
                .fold(1.0, f64::min);
            (min_y.log10().floor(), max_y.log10().ceil())
        } else {
            (0.0, nice(max_y.max(1.0)))
        };
        let at_x = |x: f64| LEFT + x / max_x * (WIDTH - LEFT - RIGHT);
        let scaled = |y: f64| {
            if self.logarithmic {
                y.max(10_f64.powf(low)).log10()
            } else {
                y
            }
        };
        let at_y =
            |y: f64| HEIGHT - BOTTOM - (scaled(y) - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <style>text {{ fill: #888 }} .grid {{ stroke: #888; stroke-opacity: 0.25 }}</style>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{}</text>\n",
            self.title
        );
        let steps: Vec<f64> = if self.logarithmic {
            (low as i32..=high as i32)
                .map(|power| 10_f64.powi(power))
                .collect()
        } else {
            (0..=5).map(|step| high * f64::from(step) / 5.0).collect()
        };
        for y in steps {
            let (line, right) = (at_y(y), WIDTH - RIGHT);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{line:.1}\" y2=\"{line:.1}\"/>"
            );
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{y}</text>",
                LEFT - 6.0,
                line + 4.0
            );
        }
        let places: Vec<(f64, String)> = if self.names.is_empty() {
            (0..=5)
                .map(|step| max_x * f64::from(step) / 5.0)
                .map(|x| (x, x.to_string()))
                .collect()
        } else {
            self.names
                .iter()
                .enumerate()
                .map(|(place, name)| (place as f64, name.clone()))
                .collect()
        };
        for (x, name) in places {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                at_x(x),
                HEIGHT - BOTTOM + 18.0
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 12.0,
            self.x
        );
        let _ = writeln!(
            svg,
            "<text x=\"14\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {0})\">{1}</text>",
            HEIGHT / 2.0,
            self.y
        );
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let path: Vec<String> = points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                path.join(" ")
            );
            for (x, y) in points {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{colour}\"/>",
                    at_x(*x),
                    at_y(*y)
                );
            }
            let x = LEFT + 10.0 + 150.0 * number as f64;
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"36\" style=\"fill: {colour}\">{name}</text>"
            );
        }
        svg + "</svg>\n"
    }
}

/// Charts side by side, as one picture.
pub(crate) fn side_by_side(charts: &[Chart]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {HEIGHT}\">\n",
        WIDTH * charts.len() as f64
    );
    for (place, chart) in charts.iter().enumerate() {
        let frame = format!(
            "<svg x=\"{}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" ",
            WIDTH * place as f64
        );
        svg += &chart.svg().replacen("<svg ", &frame, 1);
    }
    svg + "</svg>\n"
}

/// The next round number.
fn nice(value: f64) -> f64 {
    let unit = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|step| step * unit)
        .find(|round| *round >= value)
        .unwrap_or(value)
}
