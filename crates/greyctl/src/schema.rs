//! The JSON Schemas of the documents, made from the types that are printed.
//!
//! They are committed, so that a change shows in review: the test here fails
//! until they are written again.

#[cfg(test)]
mod tests {
    use std::path::Path;

    use schemars::{JsonSchema, Schema};

    use crate::compare::document::ComparisonDocument;
    use crate::diagnose::document::Diagnosis;
    use crate::doctor::document::DoctorDocument;
    use crate::enforce::document::Enforcement;
    use crate::error_document::ErrorDocument;
    use crate::history::document::HistoryDocument;
    use crate::journal::document::JournalListing;
    use crate::rollback::document::Rollback;
    use crate::why::document::KillsDocument;
    use crate::why::target::document::WhyDocument;

    /// Set to write the schemas instead of comparing them.
    const UPDATE: &str = "UPDATE_SCHEMAS";

    /// The schema of what is written: a field that is left out when it is
    /// unknown is not required, one that is `null` is.
    fn schema<T: JsonSchema>() -> Schema {
        schemars::generate::SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<T>()
    }

    #[test]
    fn the_committed_schemas_are_those_of_the_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
        for (name, schema) in [
            ("grey.diagnosis.v1", schema::<Diagnosis>()),
            ("grey.comparison.v1", schema::<ComparisonDocument>()),
            ("grey.doctor.v1", schema::<DoctorDocument>()),
            ("grey.enforcement.v1", schema::<Enforcement>()),
            ("grey.history.v1", schema::<HistoryDocument>()),
            ("grey.rollback.v1", schema::<Rollback>()),
            ("grey.journal.v1", schema::<JournalListing>()),
            ("grey.kills.v1", schema::<KillsDocument>()),
            ("grey.why.v1", schema::<WhyDocument>()),
            ("grey.error.v1", schema::<ErrorDocument>()),
        ] {
            let path = folder.join(format!("{name}.schema.json"));
            let mut made = serde_json::to_string_pretty(&schema).unwrap();
            made.push('\n');
            if std::env::var_os(UPDATE).is_some() {
                std::fs::write(&path, &made).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == made,
                "{name} has changed: look at the difference, then run the tests with {UPDATE}=1"
            );
        }
    }
}
