//! A strict JSON reader (RFC 8259): what it accepts, every other reader accepts.

use std::collections::BTreeMap;
use std::str::Chars;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number; exact up to 2^53.
    Number(f64),
    /// A string.
    String(String),
    /// `[...]`
    Array(Vec<Value>),
    /// `{...}`
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// Reads one value that fills the whole text.
    ///
    /// # Errors
    ///
    /// What is wrong, and what follows the wrong place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text.chars() };
        let value = parser.value(0)?;
        parser.space();
        if parser.rest.as_str().is_empty() { Ok(value) } else { parser.fail("end expected") }
    }

    /// The member `name` of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.get(name),
            _ => None,
        }
    }

    /// A whole, non-negative number.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self {
            // The range is checked first: the conversion loses nothing.
            Value::Number(n) if *n >= 0.0 && *n <= EXACT && n.fract() == 0.0 => Some(*n as u64),
            _ => None,
        }
    }

    /// A string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// An array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }
}

/// Nesting deeper than this is refused.
const DEEPEST: u32 = 32;

struct Parser<'t> {
    rest: Chars<'t>,
}

impl Parser<'_> {
    fn fail<T>(&self, what: &str) -> Result<T, String> {
        let after: String = self.rest.as_str().chars().take(40).collect();
        Err(format!("{what} before {after:?}"))
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.rest.next();
        }
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        match self.rest.as_str().strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest.chars();
                Ok(())
            }
            None => self.fail(&format!("{wanted:?} expected")),
        }
    }

    fn value(&mut self, depth: u32) -> Result<Value, String> {
        if depth > DEEPEST {
            return self.fail("too deep");
        }
        self.space();
        match self.peek() {
            Some('n') => self.expect("null").map(|()| Value::Null),
            Some('t') => self.expect("true").map(|()| Value::Bool(true)),
            Some('f') => self.expect("false").map(|()| Value::Bool(false)),
            Some('"') => self.string().map(Value::String),
            Some('[') => self.array(depth),
            Some('{') => self.object(depth),
            Some('-' | '0'..='9') => self.number(),
            _ => self.fail("a value expected"),
        }
    }

    fn array(&mut self, depth: u32) -> Result<Value, String> {
        self.expect("[")?;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(']') {
            self.rest.next();
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.rest.next() {
                Some(',') => {}
                Some(']') => return Ok(Value::Array(items)),
                _ => return self.fail("',' or ']' expected"),
            }
        }
    }

    fn object(&mut self, depth: u32) -> Result<Value, String> {
        self.expect("{")?;
        let mut members = BTreeMap::new();
        self.space();
        if self.peek() == Some('}') {
            self.rest.next();
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.expect(":")?;
            let value = self.value(depth + 1)?;
            if members.insert(name, value).is_some() {
                return self.fail("a name used twice");
            }
            self.space();
            match self.rest.next() {
                Some(',') => {}
                Some('}') => return Ok(Value::Object(members)),
                _ => return self.fail("',' or '}' expected"),
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect("\"")?;
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) if c >= ' ' => text.push(c),
                _ => return self.fail("a character of a string expected"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        match self.rest.next() {
            Some(c @ ('"' | '\\' | '/')) => Ok(c),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => {
                let first = self.four_digits()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    self.expect("\\u")?;
                    let second = self.four_digits()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return self.fail("half a character");
                    }
                    0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).map_or_else(|| self.fail("half a character"), Ok)
            }
            _ => self.fail("a known escape expected"),
        }
    }

    fn four_digits(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            match self.rest.next().and_then(|c| c.to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return self.fail("a hexadecimal digit expected"),
            }
        }
        Ok(code)
    }

    fn digits(&mut self) -> Result<(), String> {
        if !matches!(self.peek(), Some('0'..='9')) {
            return self.fail("a digit expected");
        }
        while matches!(self.peek(), Some('0'..='9')) {
            self.rest.next();
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, String> {
        let whole = self.rest.as_str();
        if self.peek() == Some('-') {
            self.rest.next();
        }
        if self.peek() == Some('0') {
            self.rest.next();
        } else {
            self.digits()?;
        }
        if self.peek() == Some('.') {
            self.rest.next();
            self.digits()?;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.rest.next();
            if matches!(self.peek(), Some('+' | '-')) {
                self.rest.next();
            }
            self.digits()?;
        }
        let text = &whole[..whole.len() - self.rest.as_str().len()];
        text.parse().map(Value::Number).map_err(|e| format!("{text}: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn good_texts_are_read() {
        let value = Value::parse(r#" {"a":[1,-2.5e1,true,null],"b":"x\n\u00e9\ud83d\ude00"} "#);
        let value = value.expect("valid");
        let items = value.get("a").and_then(Value::as_array).expect("an array");
        assert_eq!(items[0].as_u64(), Some(1));
        assert_eq!(items[1], Value::Number(-25.0));
        assert_eq!(value.get("b").and_then(Value::as_str), Some("x\né😀"));
    }

    #[test]
    fn bad_texts_are_refused() {
        let bad = [
            "",
            "{",
            "{\"a\":1,}",
            "[1 2]",
            "01",
            "1.",
            "nul",
            "\"\u{1}\"",
            "\"\\x\"",
            "{} {}",
            "{\"a\":1,\"a\":2}",
            "'a'",
            "[1,]",
            "+1",
            "NaN",
            "\"\\ud800\"",
            "-",
        ];
        for text in bad {
            assert!(Value::parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
