//! Numbers and tables for people.

/// `1.5 GiB`; exact below a KiB.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // Rounded to a tenth at each step, so that 1023.96 KiB is shown as 1.0 MiB.
    let mut value = count as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"KiB");
    while value >= 1023.95 {
        let Some(next) = units.next() else { break };
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `1 file`, `2 files`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `90 s`, `10 min`, `2 h`: the largest unit that stays exact.
pub fn seconds(secs: u64) -> String {
    match secs {
        s if s >= 3_600 && s % 3_600 == 0 => format!("{} h", s / 3_600),
        s if s >= 60 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// Whole percent, never 100 before all is there.
pub fn percent(done: u64, all: u64) -> u64 {
    if done >= all {
        return 100;
    }
    u64::try_from(u128::from(done) * 100 / u128::from(all)).unwrap_or(99)
}

/// Rows with their columns aligned, indented by two spaces.
pub fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("  {cell:<width$}"));
        out.push_str(cells.collect::<String>().trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_honest() {
        let check = |count, want: &str| assert_eq!(bytes(count), want);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.0 KiB");
        check(1536, "1.5 KiB");
        check((1 << 20) - 1, "1.0 MiB");
        check(10 << 30, "10.0 GiB");
        check(u64::MAX, "16.0 EiB");
    }

    #[test]
    fn percent_is_a_hundred_only_at_the_end() {
        let check = |done, all, want| assert_eq!(percent(done, all), want);
        check(0, 3, 0);
        check(999, 1000, 99);
        check(1000, 1000, 100);
        check(0, 0, 100);
        check(u64::MAX - 1, u64::MAX, 99);
    }

    #[test]
    fn times_and_counts_read_well() {
        assert_eq!([seconds(600), seconds(90), seconds(7200), seconds(0)], ["10 min", "90 s", "2 h", "0 s"]);
        assert_eq!([count(1, "file"), count(2, "file"), count(0, "file")], ["1 file", "2 files", "0 files"]);
    }

    #[test]
    fn columns_are_aligned_without_trailing_spaces() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            table(&[row(&["a", "bcd", "e"]), row(&["ähm", "", "f"]), row(&["x"])]),
            "  a    bcd  e\n  ähm       f\n  x\n"
        );
    }
}
