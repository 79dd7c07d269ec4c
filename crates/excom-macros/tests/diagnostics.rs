//! What the compiler says about tasks and DAGs that are written wrong, and that right ones compile.

#[test]
fn diagnostics() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/diagnostics/pass/*.rs");
    cases.compile_fail("tests/diagnostics/fail/*.rs");
}
