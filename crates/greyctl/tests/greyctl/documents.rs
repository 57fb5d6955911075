//! What is printed with `--json` is what the committed schemas say.

use std::path::Path;

use serde_json::Value;

use crate::harness::{host, on, run};

pub(crate) fn assert_valid(name: &str, document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../schemas")
        .join(format!("{name}.schema.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn a_diagnosis_is_as_its_schema_says() {
    let full = run(on(&host()), &["memory-diagnose", "--json"]).json();
    assert_eq!(full["schema"], "grey.diagnosis/v1");
    assert_valid("grey.diagnosis.v1", &full);
    let poor = host()
        .without("proc/pressure")
        .without("sys/kernel/mm/ksm")
        .with_v1_cgroups();
    let poor = run(on(&poor), &["memory-diagnose", "--json"]).json();
    assert_valid("grey.diagnosis.v1", &poor);
    let target = run(on(&host()), &["memory-diagnose", "--json", "-t", "/build"]).json();
    assert_valid("grey.diagnosis.v1", &target);
    let leaks = run(
        on(&host()),
        &[
            "memory-diagnose",
            "--json",
            "--detect-leaks",
            "--for",
            "200ms",
            "--interval",
            "100ms",
        ],
    )
    .json();
    assert!(leaks["leaks"][0]["verdict"].is_string());
    assert_valid("grey.diagnosis.v1", &leaks);
}

#[test]
fn an_account_of_a_target_is_as_its_schema_says() {
    for target in ["310", "2", "/", "/build/web", "/build/web/empty"] {
        let document = run(on(&host()), &["why", "--json", target]).json();
        assert_eq!(document["schema"], "grey.why/v1");
        assert_valid("grey.why.v1", &document);
    }
    let cold = &["memory-diagnose", "--cold", "--json", "-t", "/build"];
    let document = run(on(&host()), cold).json();
    assert_eq!(document["cold"][0]["method"], Value::Null);
    assert_valid("grey.diagnosis.v1", &document);
}

#[test]
fn enforcements_journals_and_rollbacks_are_as_their_schemas_say() {
    let kernel = host().with(
        "proc/self/status",
        "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
    );
    for arguments in [
        &["memory-enforce", "--json", "--simulation"][..],
        &["memory-enforce", "--json"],
        &[
            "memory-enforce",
            "--json",
            "-t",
            "310",
            "--oom-score-adj",
            "300",
            "--for",
            "2s",
            "--observe",
            "0s",
        ],
        &[
            "memory-enforce",
            "--json",
            "-t",
            "/build/web",
            "--limit",
            "1M",
        ],
    ] {
        let document = run(on(&kernel), arguments).json();
        assert_eq!(document["schema"], "grey.enforcement/v1");
        assert_valid("grey.enforcement.v1", &document);
    }
    let journal = run(on(&kernel), &["journal", "--all", "--json"]).json();
    assert_eq!(journal["schema"], "grey.journal/v1");
    assert_eq!(journal["changes"].as_array().unwrap().len(), 1);
    assert_valid("grey.journal.v1", &journal);
    let rollback = run(on(&kernel), &["rollback", "--json"]).json();
    assert_eq!(rollback["schema"], "grey.rollback/v1");
    assert_valid("grey.rollback.v1", &rollback);
    let nothing = run(on(&kernel), &["rollback", "--json"]).json();
    assert_valid("grey.rollback.v1", &nothing);
}

#[test]
fn a_document_with_a_wrong_type_is_not_as_its_schema_says() {
    let mut document = run(on(&host()), &["memory-diagnose", "--json"]).json();
    document["system"]["total_bytes"] = Value::from("much");
    let found = std::panic::catch_unwind(|| assert_valid("grey.diagnosis.v1", &document));
    assert!(found.is_err());
}

#[test]
fn every_failure_with_json_has_a_document() {
    for (arguments, code) in [
        (&["memory-enforce", "--reclaim", "zz", "--json"][..], 2),
        (&["memory-enforce", "--aggressive", "--json"], 2),
        (&["memory-diagnose", "--target", "nosuch", "--json"], 2),
        (&["memory-diagnose", "--procfs", "/nosuch", "--json"], 1),
        (&["rollback", "--json", "--nosuch"], 2),
    ] {
        let ran = run(on(&host()), arguments);
        assert_eq!(ran.exit, code, "{arguments:?}: {}", ran.stderr);
        let document = ran.json();
        assert_valid("grey.error.v1", &document);
        assert_eq!(document["exit_code"], code, "{arguments:?}");
        let error = document["error"].as_str().unwrap();
        let words: Vec<&str> = ran.stderr.split_whitespace().collect();
        assert!(words.join(" ").contains(error), "{error}: {}", ran.stderr);
    }
    // A document of its own has the error in it, and is the only one.
    let ran = run(on(&host()), &["memory-enforce", "--json"]);
    assert_eq!(ran.json()["schema"], "grey.enforcement/v1");
}
