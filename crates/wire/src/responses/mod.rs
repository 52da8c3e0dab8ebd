//! OpenAI responses (`/v1/responses`), where they differ from chat completions: how an answer is read and
//! how tools are declared. Errors and usage have OpenAI's form.

pub(crate) mod answer;
pub(crate) mod parts;
#[cfg(test)]
mod tests;
pub(crate) mod tools;
