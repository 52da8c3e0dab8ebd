//! Numbered SQL files, each applied once in a transaction of its own; a newer schema is refused.

use super::failure::Failure;
use crate::StoreError;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// One step of the schema; its number is its place in the list, from 1.
struct Migration {
    name: &'static str,
    sql: &'static str,
}

/// Only ever grows at its end.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "first", sql: include_str!("migrations/0001_first.sql") },
    Migration { name: "keys", sql: include_str!("migrations/0002_keys.sql") },
    Migration { name: "mirrored", sql: include_str!("migrations/0003_mirrored.sql") },
    Migration { name: "session_log", sql: include_str!("migrations/0004_session_log.sql") },
    Migration { name: "incidents", sql: include_str!("migrations/0005_incidents.sql") },
    Migration { name: "captures", sql: include_str!("migrations/0006_captures.sql") },
    Migration { name: "session_rows", sql: include_str!("migrations/0007_session_rows.sql") },
];

/// The schema of this build.
const LATEST: i64 = MIGRATIONS.len() as i64;

/// Brings the schema up to this build's. Two processes may do so at once: one waits for the other.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Failure> {
    if version(connection)? == LATEST {
        return Ok(());
    }
    for (number, migration) in (1..).zip(MIGRATIONS) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&transaction)? >= number {
            continue;
        }
        if number == 1 {
            transaction.execute_batch(
                "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL, build TEXT NOT NULL) STRICT",
            )?;
        }
        transaction.execute_batch(migration.sql)?;
        let row = params![number, migration.name, env!("CARGO_PKG_VERSION")];
        transaction.execute("INSERT INTO schema_version (version, name, build) VALUES (?1, ?2, ?3)", row)?;
        transaction.commit()?;
        tracing::info!(number, name = migration.name, "store schema migrated");
    }
    Ok(())
}

/// The number of the last migration applied, 0 for an empty file; refuses what is not ours to change.
pub(super) fn version(connection: &Connection) -> Result<i64, Failure> {
    if !has_table(connection, Some("schema_version"))? {
        return if has_table(connection, None)? {
            Err(StoreError::Corrupt { what: "a SQLite file of another program; name another path".to_owned() }.into())
        } else {
            Ok(0)
        };
    }
    let newest = "SELECT version, name, build FROM schema_version ORDER BY version DESC LIMIT 1";
    let last = connection
        .query_row(newest, [], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)))
        .optional()?;
    match last {
        None => Ok(0),
        Some((number, name, build)) if number > LATEST => {
            let what = format!(
                "schema {number} (`{name}`, made by coalmine {build}), and this build, {}, knows up to {}; run {build} or newer",
                env!("CARGO_PKG_VERSION"),
                LATEST
            );
            Err(StoreError::Corrupt { what }.into())
        }
        Some((number, _, _)) => Ok(number),
    }
}

fn has_table(connection: &Connection, name: Option<&str>) -> Result<bool, Failure> {
    let any = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND (?1 IS NULL OR name = ?1))";
    Ok(connection.query_row(any, [name], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(connection: &mut Connection) -> String {
        let path = std::path::Path::new("state.db");
        migrate(connection).unwrap_err().into_store_error(path, "opening").to_string()
    }

    #[test]
    fn it_migrates_once_and_then_does_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(version(&connection).unwrap(), LATEST);
    }

    #[test]
    fn every_table_but_the_schema_version_carries_its_tenant() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let without = "SELECT t.name FROM sqlite_schema t WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
            AND NOT EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE name = 'tenant' AND \"notnull\" = 1)";
        let mut statement = connection.prepare(without).unwrap();
        let names: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(names, ["schema_version"]);
    }

    #[test]
    fn a_newer_schema_is_refused_by_name() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.execute("INSERT INTO schema_version VALUES (99, 'quantum', '9.1.0')", []).unwrap();
        let said = refusal(&mut connection);
        assert!(said.contains("schema 99 (`quantum`, made by coalmine 9.1.0)"), "{said}");
    }

    #[test]
    fn a_file_of_another_program_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
        let said = refusal(&mut connection);
        assert!(said.contains("another program"), "{said}");
        assert!(!has_table(&connection, Some("routes")).unwrap());
    }

    #[test]
    fn a_journal_row_cannot_be_changed() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.execute("INSERT INTO journal (tenant, release, document) VALUES ('a', 'b', 'c')", []).unwrap();
        assert!(connection.execute("UPDATE journal SET document = 'd'", []).is_err());
    }
}
