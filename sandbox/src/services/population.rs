//! The population register of one city: its data set and the two questions that may be asked of it.
//!
//! Metsola's register knows who lives there and who moved where. The school office of Rannala asks it about children who moved
//! there, and about one of them. All persons are invented.

use serde::{Deserialize, Serialize};

/// A person in the register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resident {
    /// Personal code.
    pub code: &'static str,
    /// Given name.
    pub given_name: &'static str,
    /// Family name.
    pub family_name: &'static str,
    /// Date of birth, `YYYY-MM-DD`.
    pub born: &'static str,
    /// Present address.
    pub address: &'static str,
    /// Municipality the person moved to, if any.
    pub moved_to: Option<&'static str>,
    /// Personal codes of guardians.
    pub guardians: &'static [&'static str],
}

/// Which residents to find; an absent member matches everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Search {
    /// Born on this day or later.
    #[serde(default)]
    pub born_from: Option<String>,
    /// Born on this day or earlier.
    #[serde(default)]
    pub born_to: Option<String>,
    /// Moved to this municipality.
    #[serde(default)]
    pub moved_to: Option<String>,
}

/// The resident with this code.
pub fn resident(code: &str) -> Option<&'static Resident> {
    RESIDENTS.iter().find(|resident| resident.code == code)
}

/// Everybody who fits, in the register's order.
pub fn find(search: &Search) -> Vec<&'static Resident> {
    let fits = |resident: &&Resident| {
        // Dates of one form compare like their text.
        search.born_from.as_deref().is_none_or(|from| resident.born >= from)
            && search.born_to.as_deref().is_none_or(|to| resident.born <= to)
            && search.moved_to.as_deref().is_none_or(|to| resident.moved_to == Some(to))
    };
    RESIDENTS.iter().filter(fits).collect()
}

const fn person(
    code: &'static str,
    [given_name, family_name]: [&'static str; 2],
    born: &'static str,
    address: &'static str,
    moved_to: Option<&'static str>,
    guardians: &'static [&'static str],
) -> Resident {
    Resident { code, given_name, family_name, born, address, moved_to, guardians }
}

/// The register.
const RESIDENTS: [Resident; 8] = [
    person("M-1984-0311", ["Aino", "Korpi"], "1984-03-11", "Rantatie 4, Rannala", Some("Rannala"), &[]),
    person("M-1982-0925", ["Eero", "Korpi"], "1982-09-25", "Rantatie 4, Rannala", Some("Rannala"), &[]),
    person(
        "M-2019-0502",
        ["Säde", "Korpi"],
        "2019-05-02",
        "Rantatie 4, Rannala",
        Some("Rannala"),
        &["M-1984-0311", "M-1982-0925"],
    ),
    person(
        "M-2021-1130",
        ["Otso", "Korpi"],
        "2021-11-30",
        "Rantatie 4, Rannala",
        Some("Rannala"),
        &["M-1984-0311", "M-1982-0925"],
    ),
    person("M-1990-0718", ["Liisa", "Halla"], "1990-07-18", "Satamakatu 12 B, Rannala", Some("Rannala"), &[]),
    person(
        "M-2019-1224",
        ["Joona", "Halla"],
        "2019-12-24",
        "Satamakatu 12 B, Rannala",
        Some("Rannala"),
        &["M-1990-0718"],
    ),
    person("M-1979-0101", ["Väinö", "Suo"], "1979-01-01", "Metsäpolku 7, Metsola", None, &[]),
    person("M-2019-0814", ["Kerttu", "Suo"], "2019-08-14", "Metsäpolku 7, Metsola", None, &["M-1979-0101"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_narrows_by_every_given_member() {
        let all = find(&Search::default());
        assert_eq!(all.len(), RESIDENTS.len());
        let search = Search {
            born_from: Some("2019-01-01".into()),
            born_to: Some("2019-12-31".into()),
            moved_to: Some("Rannala".into()),
        };
        let names: Vec<_> = find(&search).iter().map(|resident| resident.given_name).collect();
        assert_eq!(names, ["Säde", "Joona"]);
    }

    #[test]
    fn guardians_are_in_the_register_and_codes_are_unique() {
        for resident in &RESIDENTS {
            assert_eq!(self::resident(resident.code), Some(resident));
            assert!(
                resident.guardians.iter().all(|code| self::resident(code).is_some()),
                "{}",
                resident.code
            );
        }
    }
}
