//! Tables for people: columns as wide as what is in them, texts to the left and numbers to the right.

use std::fmt::Write;

/// The lines of a table, the first being its heads.
pub fn lines(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| wide(column).unwrap_or(0)).collect();
    let cells = |column: usize| rows.iter().skip(1).filter_map(move |row| row.get(column));
    let is_number = |cell: &String| cell.starts_with(|first: char| first.is_ascii_digit() || "-$".contains(first));
    let are_numbers: Vec<bool> = (0..columns).map(|column| column > 0 && cells(column).all(is_number)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), is_number) in row.iter().zip(&widths).zip(&are_numbers) {
            let gap = if line.is_empty() { "" } else { "  " };
            let _ = match is_number {
                false => write!(line, "{gap}{cell:width$}"),
                true => write!(line, "{gap}{cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Dollars, to the cent, or as far as there is anything to see.
pub fn dollars(amount: f64) -> String {
    match amount {
        0.0 => "$0".to_owned(),
        0.01.. => format!("${amount:.2}"),
        0.000_001.. => format!("${amount:.6}"),
        _ => format!("${amount:.9}"),
    }
}

pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_below_each_other() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows = [row(&["NAME", "N", "WHY"]), row(&["é", "10", "-"]), row(&["longer", "-", "so it is"])];
        assert_eq!(lines(&rows), "NAME     N  WHY\né       10  -\nlonger   -  so it is\n");
        assert_eq!(lines(&[]), "");
    }

    #[test]
    fn small_amounts_are_seen() {
        let told = [0.0, 1234.567, 0.01, 0.000_7, 0.000_000_2].map(dollars);
        assert_eq!(told, ["$0", "$1234.57", "$0.01", "$0.000700", "$0.000000200"]);
        assert_eq!((percent(Some(0.333)), percent(None)), ("33%".to_owned(), "-".to_owned()));
    }
}
