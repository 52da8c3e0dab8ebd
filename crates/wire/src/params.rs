//! Which parameters each dialect knows, and what one of chat completions is called in another.
//!
//! Sources: the references of OpenAI's API (chat completions, responses, embeddings, completions) and of
//! Anthropic's (messages), and those of the servers that speak like OpenAI and take more.

use crate::dialect::{Dialect, Family};
use std::collections::BTreeSet;

/// How a parameter stands to a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is a member of the request under this name.
    Member(&'static str),
    /// It is a member of this member, under this name.
    Within(&'static str, &'static str),
    /// No dialect of OpenAI's knows it: a server's own, sent as it is.
    Foreign,
    /// Another dialect of the same provider knows it, and this one does not.
    Unsaid,
}

const CHAT: [&str; 31] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "temperature",
    "tool_choice",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
    "moderation",
];

const RESPONSES: [&str; 20] = [
    "context_management",
    "include",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "background",
];

const EMBEDDINGS: [&str; 3] = ["dimensions", "encoding_format", "user"];

const COMPLETIONS: [&str; 15] = [
    "best_of",
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "suffix",
    "temperature",
    "top_p",
    "user",
    "max_completion_tokens",
];

const REALTIME: [&str; 9] = [
    "audio",
    "include",
    "max_output_tokens",
    "output_modalities",
    "parallel_tool_calls",
    "reasoning",
    "tool_choice",
    "tracing",
    "truncation",
];

const MESSAGES: [&str; 17] = [
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "metadata",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "temperature",
    "thinking",
    "tool_choice",
    "top_k",
    "top_p",
];

/// What servers that speak like OpenAI take beside what OpenAI does: vLLM, SGLang, llama.cpp, TGI, Ollama,
/// and services in front of many models.
const SERVERS: [&str; 96] = [
    "add_generation_prompt",
    "add_special_tokens",
    "allowed_token_ids",
    "bad_words",
    "cache_prompt",
    "cache_salt",
    "chat_template",
    "chat_template_kwargs",
    "continue_final_message",
    "custom_params",
    "documents",
    "dry_allowed_length",
    "dry_base",
    "dry_multiplier",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_exponent",
    "dynatemp_range",
    "early_stopping",
    "ebnf",
    "enable_thinking",
    "extra_body",
    "format",
    "google",
    "grammar",
    "guided_choice",
    "guided_decoding_backend",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "guided_whitespace_pattern",
    "id_slot",
    "ignore_eos",
    "include_reasoning",
    "include_stop_str_in_output",
    "input_type",
    "json_schema",
    "keep_alive",
    "kv_transfer_params",
    "length_penalty",
    "logits_processors",
    "lora_path",
    "min_keep",
    "min_p",
    "min_tokens",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "mm_processor_kwargs",
    "models",
    "n_keep",
    "n_predict",
    "n_probs",
    "no_stop_trim",
    "normalize",
    "num_ctx",
    "options",
    "plugins",
    "priority",
    "prompt_logprobs",
    "prompt_mode",
    "provider",
    "random_seed",
    "reasoning",
    "reasoning_format",
    "regex",
    "repeat_last_n",
    "repeat_penalty",
    "repetition_penalty",
    "request_id",
    "return_hidden_states",
    "return_token_ids",
    "route",
    "safe_prompt",
    "safety_settings",
    "samplers",
    "search_parameters",
    "separate_reasoning",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop_regex",
    "stop_token_ids",
    "stream_reasoning",
    "structured_outputs",
    "task",
    "thinking",
    "thinking_budget",
    "thinking_token_budget",
    "top_a",
    "top_k",
    "transforms",
    "truncate",
    "truncate_prompt_tokens",
    "typical_p",
    "use_beam_search",
    "vllm_xargs",
];

/// The parameters of a dialect.
#[must_use]
pub fn of(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Chat => &CHAT,
        Dialect::Messages => &MESSAGES,
        Dialect::Responses => &RESPONSES,
        Dialect::Embeddings => &EMBEDDINGS,
        Dialect::Completions => &COMPLETIONS,
        Dialect::Realtime => &REALTIME,
    }
}

/// Those that servers take which only speak like OpenAI.
#[must_use]
pub fn of_servers() -> &'static [&'static str] {
    &SERVERS
}

/// All that a provider takes. `own_host`: it is OpenAI's own service, which refuses what it does not know;
/// other servers that speak like it take more.
#[must_use]
pub fn taken_by(family: Family, own_host: OwnHost) -> BTreeSet<&'static str> {
    let spoken = Dialect::ALL.into_iter().filter(|dialect| dialect.family() == family);
    let servers = match (family, own_host) {
        (Family::OpenAi, OwnHost::No) => of_servers(),
        (Family::OpenAi, OwnHost::Yes) | (Family::Anthropic, _) => &[],
    };
    spoken.flat_map(of).chain(servers).copied().collect()
}

/// Whether a provider is the one that a dialect is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnHost {
    /// It is.
    Yes,
    /// It speaks like it.
    No,
}

/// Whether a provider of the family has a dialect that knows this parameter.
#[must_use]
pub fn knows(family: Family, name: &str) -> bool {
    Dialect::ALL.into_iter().filter(|dialect| dialect.family() == family).any(|dialect| of(dialect).contains(&name))
}

/// Where a version's parameter stands in a request of a dialect.
pub(crate) fn place(dialect: Dialect, name: &str) -> Place {
    if dialect == Dialect::Messages {
        return Place::Foreign;
    }
    match (dialect, name) {
        (Dialect::Responses | Dialect::Realtime, "max_tokens" | "max_completion_tokens") => {
            return Place::Member("max_output_tokens");
        }
        (Dialect::Responses | Dialect::Realtime, "reasoning_effort") => return Place::Within("reasoning", "effort"),
        (Dialect::Responses, "verbosity") => return Place::Within("text", "verbosity"),
        (Dialect::Responses, "response_format") => return Place::Within("text", "format"),
        (Dialect::Completions, "max_completion_tokens") => return Place::Member("max_tokens"),
        _ => {}
    }
    match of(dialect).iter().find(|known| **known == name) {
        Some(known) => Place::Member(known),
        None if knows(Family::OpenAi, name) => Place::Unsaid,
        None => Place::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_list_has_a_name_twice() {
        for list in Dialect::ALL.map(of).into_iter().chain([of_servers()]) {
            assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), list.len(), "{list:?}");
        }
    }

    #[test]
    fn a_parameter_of_chat_has_its_place_in_the_others() {
        assert_eq!(place(Dialect::Chat, "temperature"), Place::Member("temperature"));
        assert_eq!(place(Dialect::Responses, "max_completion_tokens"), Place::Member("max_output_tokens"));
        assert_eq!(place(Dialect::Responses, "reasoning_effort"), Place::Within("reasoning", "effort"));
        assert_eq!(place(Dialect::Responses, "seed"), Place::Unsaid);
        assert_eq!(place(Dialect::Chat, "max_output_tokens"), Place::Unsaid);
        assert_eq!(place(Dialect::Embeddings, "temperature"), Place::Unsaid);
        assert_eq!(place(Dialect::Responses, "min_p"), Place::Foreign);
        assert_eq!(place(Dialect::Messages, "thinking"), Place::Foreign);
    }
}
