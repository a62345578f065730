//! The table: what, goal, measured, met.

use std::time::Duration;

/// One line of the table.
struct Row {
    what: String,
    goal: String,
    measured: String,
    met: bool,
}

/// Filled as it is measured, printed at the end.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn add(&mut self, what: &str, goal: &str, measured: String, met: bool) {
        eprintln!("{} {what}: {measured} (goal {goal})", if met { "   " } else { "!! " });
        self.rows.push(Row { what: what.to_owned(), goal: goal.to_owned(), measured, met });
    }

    /// A row whose goal is a time that the 95th percentile stays below.
    pub(crate) fn add_times(&mut self, what: &str, goal: Duration, times: &mut [Duration]) {
        times.sort_unstable();
        let (half, most) = (percentile(times, 50), percentile(times, 95));
        let measured = format!("p50 {}, p95 {}, n = {}", millis(half), millis(most), times.len());
        self.add(what, &format!("p95 < {}", millis(goal)), measured, most < goal);
    }

    /// As a Markdown table with even columns.
    pub(crate) fn print(&self) {
        let cells: Vec<[String; 4]> = std::iter::once(["what", "goal", "measured", "met?"].map(str::to_owned))
            .chain(self.rows.iter().map(|row| {
                let met = if row.met { "yes" } else { "NO" };
                [row.what.clone(), row.goal.clone(), row.measured.clone(), met.to_owned()]
            }))
            .collect();
        let widths: Vec<usize> =
            (0..4).map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
        for (index, row) in cells.iter().enumerate() {
            let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            println!("| {} |", line.join(" | "));
            if index == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                println!("| {} |", rules.join(" | "));
            }
        }
    }
}

/// Of sorted times; the nearest-rank definition.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// `0.42 ms`, `131 ms`.
pub(crate) fn millis(time: Duration) -> String {
    let value = time.as_secs_f64() * 1000.0;
    if value < 10.0 { format!("{value:.2} ms") } else { format!("{value:.0} ms") }
}

/// `1.2 kB`, in thousands.
pub(crate) fn kilobytes(bytes: usize) -> String {
    format!("{:.1} kB", bytes as f64 / 1000.0)
}
