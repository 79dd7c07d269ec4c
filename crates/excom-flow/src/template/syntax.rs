//! What stands in a template, made ready for the engine: Python's operators become calls of
//! [`operators`](super::operators), lists and dicts become those of [`containers`](super::containers), and
//! names that begin with `__` are refused. Places in what comes out lead back to the template as written.

use std::borrow::Cow;
use std::ops::Range;

use minijinja::machinery::ast::{BinOpKind, Call, CallArg, CompareOpKind, Expr, Stmt, UnaryOpKind};
use minijinja::machinery::{Span, Token, parse, tokenize};
use minijinja::syntax::SyntaxConfig;

/// A template that is ready for the engine.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// What the engine reads.
    pub(super) text: String,
    /// The template is one expression and nothing else.
    pub(super) lone: bool,
    /// The longest text between tags, in bytes.
    pub(super) longest_raw: usize,
    /// Where pieces of the template begin in the text, each with its place in the template.
    pieces: Vec<(usize, usize)>,
}

/// Why a template cannot be read.
#[derive(Debug)]
pub(super) enum Refused {
    /// The engine says so.
    Syntax(minijinja::Error),
    /// A name at a place begins with `__`.
    Name(String, usize),
}

impl Prepared {
    /// Reads a template.
    pub(super) fn new(name: &str, template: &str) -> Result<Self, Refused> {
        if !template.contains(['{']) {
            return Ok(Self { text: template.to_owned(), ..Self::default() });
        }
        let parsed = parse(template, name, SyntaxConfig::default()).map_err(Refused::Syntax)?;
        let mut tokens = Vec::new();
        for (token, span) in tokenize(template, false, SyntaxConfig::default()).map_while(Result::ok) {
            match token {
                Token::Ident(name) if name.starts_with("__") => {
                    return Err(Refused::Name(name.to_owned(), span.start_offset as usize));
                }
                _ => tokens.push(Found::new(&token, span)),
            }
        }
        let mut reader = Reader { template, tokens, edits: Vec::new(), longest_raw: 0 };
        reader.statement(&parsed);
        let lone =
            matches!(&parsed, Stmt::Template(root) if matches!(root.children[..], [Stmt::EmitExpr(_)]));
        let mut prepared = Self { lone, longest_raw: reader.longest_raw, ..Self::default() };
        prepared.apply(template, reader.edits);
        Ok(prepared)
    }

    fn apply(&mut self, template: &str, mut edits: Vec<Edit>) {
        edits.sort_by_key(|edit| (edit.range.start, edit.kind));
        let mut done = 0;
        for edit in edits {
            let start = edit.range.start.max(done);
            self.keep(template, done..start);
            self.text.push_str(&edit.text);
            done = edit.range.end.max(start);
        }
        self.keep(template, done..template.len());
    }

    fn keep(&mut self, template: &str, range: Range<usize>) {
        if let Some(piece) = template.get(range.clone())
            && !piece.is_empty()
        {
            self.pieces.push((self.text.len(), range.start));
            self.text.push_str(piece);
        }
    }

    /// The place in the template that a place in the text comes from.
    pub(super) fn origin(&self, place: usize) -> usize {
        let after = self.pieces.partition_point(|(start, _)| *start <= place);
        match after.checked_sub(1).and_then(|last| self.pieces.get(last)) {
            Some((start, origin)) => {
                // A place in what was put in is the place of what follows it.
                let next = self.pieces.get(after).map(|(_, origin)| *origin);
                let inside = origin + (place - start);
                next.map_or(inside, |next| inside.min(next))
            }
            None => place,
        }
    }
}

/// A token and where it is.
struct Found {
    range: Range<usize>,
    is: Is,
}

/// What matters of a token.
#[derive(PartialEq)]
enum Is {
    ParenOpen,
    Opening,
    BracketOpen,
    Closing,
    Colon,
    Not,
    Other,
}

impl Found {
    fn new(token: &Token<'_>, span: Span) -> Self {
        let is = match token {
            Token::ParenOpen => Is::ParenOpen,
            Token::BraceOpen => Is::Opening,
            Token::BracketOpen => Is::BracketOpen,
            Token::ParenClose | Token::BraceClose | Token::BracketClose => Is::Closing,
            Token::Colon => Is::Colon,
            Token::Ident("not") => Is::Not,
            _ => Is::Other,
        };
        Self { range: span.start_offset as usize..span.end_offset as usize, is }
    }
}

/// At one place, what ends comes before what begins, and that before what is replaced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Close,
    Open,
    Replace,
}

struct Edit {
    range: Range<usize>,
    kind: Kind,
    text: Cow<'static, str>,
}

struct Reader<'a> {
    template: &'a str,
    tokens: Vec<Found>,
    edits: Vec<Edit>,
    longest_raw: usize,
}

impl Reader<'_> {
    fn open(&mut self, at: usize, text: impl Into<Cow<'static, str>>) {
        self.edits.push(Edit { range: at..at, kind: Kind::Open, text: text.into() });
    }

    fn close(&mut self, at: usize) {
        self.edits.push(Edit { range: at..at, kind: Kind::Close, text: ")".into() });
    }

    fn replace(&mut self, range: Range<usize>, text: impl Into<Cow<'static, str>>) {
        self.edits.push(Edit { range, kind: Kind::Replace, text: text.into() });
    }

    /// The first token at or behind a place.
    fn token_from(&self, place: usize) -> usize {
        self.tokens.partition_point(|token| token.range.start < place)
    }

    /// The first token behind an operand, past the parentheses around it.
    fn operator_after(&self, operand: Span) -> usize {
        let mut index = self.token_from(operand.end_offset as usize);
        while self.tokens.get(index).is_some_and(|token| {
            token.is == Is::Closing && self.template.as_bytes().get(token.range.start) == Some(&b')')
        }) {
            index += 1;
        }
        index
    }

    /// Replaces the operator behind an operand, which may be `not in`.
    fn operator(&mut self, operand: Span, text: impl Into<Cow<'static, str>>) {
        let index = self.operator_after(operand);
        let Some(token) = self.tokens.get(index) else { return };
        let mut range = token.range.clone();
        if token.is == Is::Not
            && let Some(next) = self.tokens.get(index + 1)
        {
            range.end = next.range.end;
        }
        self.replace(range, text);
    }

    /// Where an expression begins. The engine tells that of names and literals only; of what follows them
    /// (`.a`, `| b`, `< c`) it tells where the last part begins.
    fn start(&self, expression: &Expr<'_>) -> usize {
        let span = expression.span();
        let first = match expression {
            Expr::GetAttr(it) => self.start(&it.expr),
            Expr::GetItem(it) => self.start(&it.expr),
            Expr::Slice(it) => self.start(&it.expr),
            Expr::Call(it) => self.start(&it.expr),
            Expr::Test(it) => self.start(&it.expr),
            Expr::Filter(it) => it.expr.as_ref().map_or(span.start_offset as usize, |expr| self.start(expr)),
            Expr::BinOp(it) => self.start(&it.left),
            Expr::Compare(it) => self.start(&it.expr),
            Expr::IfExpr(it) => self.start(&it.true_expr),
            // `a not in b` is the negation of `a in b`, without a sign before it.
            Expr::UnaryOp(it) => match it.expr {
                Expr::BinOp(_) if !self.template[span.start_offset as usize..].starts_with(['n', '-']) => {
                    self.start(&it.expr)
                }
                _ => span.start_offset as usize,
            },
            _ => span.start_offset as usize,
        };
        // Parentheses that open before it and close inside it belong to it.
        let mut index = self.token_from(first);
        while let Some(before) = index.checked_sub(1)
            && self.tokens[before].is == Is::ParenOpen
            && self.closing(before).is_some_and(|end| end <= span.end_offset as usize)
        {
            index = before;
        }
        self.tokens.get(index).map_or(first, |token| token.range.start)
    }

    /// Where the parenthesis ends that a token opens.
    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for token in self.tokens.get(open..)? {
            match token.is {
                Is::ParenOpen | Is::Opening | Is::BracketOpen => depth += 1,
                Is::Closing => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(token.range.end);
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn comparison<'e>(&mut self, whole: &Expr<'e>, first: &Expr<'e>, rest: &[(&'static str, &Expr<'e>)]) {
        self.open(self.start(whole), "__compare(");
        self.expression(first);
        let mut before = first.span();
        for (name, operand) in rest {
            self.operator(before, format!(",'{name}',"));
            self.expression(operand);
            before = operand.span();
        }
        self.close(whole.span().end_offset as usize);
    }

    fn body(&mut self, statements: &[Stmt<'_>]) {
        statements.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(it) => self.body(&it.children),
            Stmt::EmitExpr(it) => self.expression(&it.expr),
            Stmt::EmitRaw(it) => self.longest_raw = self.longest_raw.max(it.raw.len()),
            Stmt::ForLoop(it) => {
                self.iterated(&it.iter);
                self.all(it.filter_expr.as_ref());
                self.body(&it.body);
                self.body(&it.else_body);
            }
            Stmt::IfCond(it) => {
                self.expression(&it.expr);
                self.body(&it.true_body);
                self.body(&it.false_body);
            }
            Stmt::WithBlock(it) => {
                it.assignments.iter().for_each(|(_, value)| self.expression(value));
                self.body(&it.body);
            }
            Stmt::Set(it) => self.expression(&it.expr),
            Stmt::SetBlock(it) => {
                self.all(it.filter.as_ref());
                self.body(&it.body);
            }
            Stmt::AutoEscape(it) => {
                self.expression(&it.enabled);
                self.body(&it.body);
            }
            Stmt::FilterBlock(it) => {
                self.expression(&it.filter);
                self.body(&it.body);
            }
            Stmt::Block(it) => self.body(&it.body),
            Stmt::Import(it) => self.expression(&it.expr),
            Stmt::FromImport(it) => self.expression(&it.expr),
            Stmt::Extends(it) => self.expression(&it.name),
            Stmt::Include(it) => self.expression(&it.name),
            Stmt::Macro(it) => {
                self.all(&it.defaults);
                self.body(&it.body);
            }
            Stmt::CallBlock(it) => {
                self.call(&it.call);
                self.all(&it.macro_decl.defaults);
                self.body(&it.macro_decl.body);
            }
            Stmt::Do(it) => self.call(&it.call),
        }
    }

    /// What a loop goes through: in Python, nothing is not an empty list.
    fn iterated(&mut self, iter: &Expr<'_>) {
        self.open(self.start(iter), "__iterate(");
        self.expression(iter);
        self.close(iter.span().end_offset as usize);
    }

    fn all<'e: 's, 's>(&mut self, expressions: impl IntoIterator<Item = &'s Expr<'e>>) {
        expressions.into_iter().for_each(|expression| self.expression(expression));
    }

    fn call(&mut self, call: &Call<'_>) {
        self.expression(&call.expr);
        self.arguments(&call.args);
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) {
        for argument in arguments {
            match argument {
                CallArg::Pos(value)
                | CallArg::Kwarg(_, value)
                | CallArg::PosSplat(value)
                | CallArg::KwargSplat(value) => self.expression(value),
            }
        }
    }

    fn expression(&mut self, expression: &Expr<'_>) {
        match expression {
            Expr::Var(_) | Expr::Const(_) => {}
            Expr::Slice(it) => self.slice(self.start(expression), &it.expr, [&it.start, &it.stop, &it.step]),
            Expr::UnaryOp(it) => {
                let span = expression.span();
                let start = span.start_offset as usize;
                let negated = matches!(it.op, UnaryOpKind::Neg) && !matches!(it.expr, Expr::Const(_));
                if negated && self.template.as_bytes().get(start) == Some(&b'-') {
                    self.replace(start..start + 1, "__negate(");
                    self.expression(&it.expr);
                    self.close(span.end_offset as usize);
                } else {
                    self.expression(&it.expr);
                }
            }
            Expr::BinOp(it) => match operator(it.op) {
                Operator::Boolean => {
                    self.expression(&it.left);
                    self.expression(&it.right);
                }
                Operator::Comparison(name) => {
                    let after = self.operator_after(it.left.span());
                    // The engine reads `not in` as a negated `in`.
                    let negated = self.tokens.get(after).is_some_and(|token| token.is == Is::Not);
                    let name = if negated { "not in" } else { name };
                    self.comparison(expression, &it.left, &[(name, &it.right)]);
                }
                Operator::Function(function) => {
                    let span = expression.span();
                    self.open(self.start(expression), function);
                    self.expression(&it.left);
                    self.operator(it.left.span(), ",");
                    self.expression(&it.right);
                    self.close(span.end_offset as usize);
                }
            },
            Expr::Compare(it) => {
                let rest: Vec<(&'static str, &Expr<'_>)> =
                    it.ops.iter().map(|op| (compared(op.op), &op.expr)).collect();
                self.comparison(expression, &it.expr, &rest);
            }
            Expr::IfExpr(it) => {
                self.expression(&it.test_expr);
                self.expression(&it.true_expr);
                self.all(it.false_expr.as_ref());
            }
            Expr::Filter(it) => {
                self.all(it.expr.as_ref());
                self.arguments(&it.args);
            }
            Expr::Test(it) => {
                self.expression(&it.expr);
                self.arguments(&it.args);
            }
            Expr::GetAttr(it) => {
                self.expression(&it.expr);
            }
            Expr::GetItem(it) => {
                self.expression(&it.expr);
                self.expression(&it.subscript_expr);
            }
            Expr::Call(it) => self.call(it),
            Expr::List(it) => {
                let span = expression.span();
                let literal = self.literal(span, "__list(", b'[');
                self.all(&it.items);
                if literal {
                    self.close(span.end_offset as usize);
                }
            }
            Expr::Tuple(it) => self.all(&it.items),
            Expr::Map(it) => {
                let span = expression.span();
                let literal = self.literal(span, "__dict(", b'{');
                self.all(&it.keys);
                self.all(&it.values);
                if literal {
                    self.close(span.end_offset as usize);
                }
            }
        }
    }

    fn literal(&mut self, span: Span, function: &'static str, bracket: u8) -> bool {
        let start = span.start_offset as usize;
        let literal = self.template.as_bytes().get(start) == Some(&bracket);
        if literal {
            self.open(start, function);
        }
        literal
    }

    /// `x[a:b:c]` becomes `__slice(x,a,b,c)`.
    fn slice(&mut self, first: usize, value: &Expr<'_>, parts: [&Option<Expr<'_>>; 3]) {
        let bracket = self.operator_after(value.span());
        let Some(start) = self.tokens.get(bracket).map(|token| token.range.clone()) else { return };
        self.open(first, "__slice(");
        self.expression(value);
        self.replace(start, ",");
        let (mut depth, mut colons) = (0_usize, Vec::new());
        let mut end = None;
        for token in &self.tokens[bracket + 1..] {
            match token.is {
                Is::ParenOpen | Is::Opening | Is::BracketOpen => depth += 1,
                Is::Closing if depth == 0 => {
                    end = Some(token.range.clone());
                    break;
                }
                Is::Closing => depth -= 1,
                Is::Colon if depth == 0 => colons.push(token.range.clone()),
                _ => {}
            }
        }
        for (index, part) in parts.into_iter().enumerate() {
            match part {
                Some(part) => self.expression(part),
                None if index <= colons.len() => {
                    // Nothing stands before this colon, or before the end.
                    let at = colons.get(index).or(end.as_ref()).map(|range| range.start);
                    if let Some(at) = at {
                        self.edits.push(Edit { range: at..at, kind: Kind::Open, text: "none".into() });
                    }
                }
                None => {}
            }
        }
        for colon in colons {
            self.replace(colon, ",");
        }
        if let Some(end) = end {
            self.replace(end, ")");
        }
    }
}

enum Operator {
    /// `and` and `or`, which the engine has as Python does.
    Boolean,
    Comparison(&'static str),
    Function(&'static str),
}

fn operator(kind: BinOpKind) -> Operator {
    match kind {
        BinOpKind::ScAnd | BinOpKind::ScOr => Operator::Boolean,
        BinOpKind::Eq => Operator::Comparison("=="),
        BinOpKind::Ne => Operator::Comparison("!="),
        BinOpKind::Lt => Operator::Comparison("<"),
        BinOpKind::Lte => Operator::Comparison("<="),
        BinOpKind::Gt => Operator::Comparison(">"),
        BinOpKind::Gte => Operator::Comparison(">="),
        BinOpKind::In => Operator::Comparison("in"),
        BinOpKind::Add => Operator::Function("__add("),
        BinOpKind::Sub => Operator::Function("__subtract("),
        BinOpKind::Mul => Operator::Function("__multiply("),
        BinOpKind::Div => Operator::Function("__divide("),
        BinOpKind::FloorDiv => Operator::Function("__floor_divide("),
        BinOpKind::Rem => Operator::Function("__modulo("),
        BinOpKind::Pow => Operator::Function("__power("),
        BinOpKind::Concat => Operator::Function("__concatenate("),
    }
}

fn compared(kind: CompareOpKind) -> &'static str {
    match kind {
        CompareOpKind::Eq => "==",
        CompareOpKind::Ne => "!=",
        CompareOpKind::Lt => "<",
        CompareOpKind::Lte => "<=",
        CompareOpKind::Gt => ">",
        CompareOpKind::Gte => ">=",
        CompareOpKind::In => "in",
        CompareOpKind::NotIn => "not in",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(template: &str) -> String {
        Prepared::new("t", template).unwrap().text
    }

    #[test]
    fn operators_become_calls() {
        for (template, text) in [
            ("{{ a + b }}", "{{ __add(a , b) }}"),
            ("{{ (a + b) * -c }}", "{{ __multiply((__add(a , b)) , __negate(c)) }}"),
            ("{{ a + b + c }}", "{{ __add(__add(a , b) , c) }}"),
            ("{{ a < b }}", "{{ __compare(a ,'<', b) }}"),
            ("{{ not (a) not in (b) }}", "{{ not __compare((a) ,'not in', (b)) }}"),
            ("{{ 1 < a == 3 }}", "{{ __compare(1 ,'<', a ,'==', 3) }}"),
            ("{{ (a).b()[1:] | c < d }}", "{{ __compare(__slice((a).b(),1,none) | c ,'<', d) }}"),
            ("{{ x[1:] }}", "{{ __slice(x,1,none) }}"),
            ("{{ x[::y[0]] }}", "{{ __slice(x,none,none,y[0]) }}"),
            ("{{ [a + 1, {'b': 2}] }}", "{{ __list([__add(a , 1), __dict({'b': 2})]) }}"),
            ("{% for a, b in [c] %}{% endfor %}", "{% for a, b in __iterate(__list([c])) %}{% endfor %}"),
            (
                "{% for a in (b).c if d > 1 %}{% endfor %}",
                "{% for a in __iterate((b).c) if __compare(d ,'>', 1) %}{% endfor %}",
            ),
            ("{% for a in (b) %}{% endfor %}", "{% for a in (__iterate(b)) %}{% endfor %}"),
        ] {
            assert_eq!(prepared(template), text);
        }
    }

    #[test]
    fn places_lead_back() {
        let template = "ü {{ a + b.c }}";
        let prepared = Prepared::new("t", template).unwrap();
        for part in ["a", "b.c", "}}"] {
            let place = prepared.text.rfind(part).unwrap();
            assert_eq!(prepared.origin(place), template.rfind(part).unwrap(), "{part}");
        }
    }

    #[test]
    fn private_names_are_refused() {
        for template in
            ["{{ x.__class__ }}", "{% set __run = 1 %}", "{{ f(__x=1) }}", "{% for __a in b %}{% endfor %}"]
        {
            let refused = Prepared::new("t", template).unwrap_err();
            assert!(matches!(refused, Refused::Name(name, _) if name.starts_with("__")), "{template}");
        }
        assert!(Prepared::new("t", "__main__ {% raw %}{{ __x }}{% endraw %} {{ '__y' }}").is_ok());
    }
}
