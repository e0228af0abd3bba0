/** Fields that give an answer a shape. `guideOf` of the library reads them; see its `NamedGuides`. */
import { z } from '@hono/zod-openapi'

/** A JSON schema, whose own fields are not looked into here. */
const schema = z.record(z.string(), z.unknown())
const nothing = z.literal(false)
const one = 'At most one field may give the answer a shape.'

/** OpenAI's format of an answer in chats and completions. */
export const responseFormat = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('text') }),
    z.object({ type: z.literal('json_object'), schema: schema.nullish() }),
    z.object({
      type: z.literal('json_schema'),
      json_schema: z
        .object({
          name: z.string().max(256).nullish(),
          description: z.string().nullish(),
          schema: z.union([schema, z.boolean()]).nullish(),
          strict: z.boolean().nullish(),
        })
        .nullish(),
      schema: schema.nullish(),
    }),
  ])
  .openapi('ResponseFormat')

/** OpenAI's format of an answer in responses. */
export const textFormat = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('text') }),
    z.object({ type: z.literal('json_object') }),
    z.object({
      type: z.literal('json_schema'),
      name: z.string().max(256).nullish(),
      description: z.string().nullish(),
      schema: z.union([schema, z.boolean()]),
      strict: z.boolean().nullish(),
    }),
  ])
  .openapi('TextFormat')

/** Fields of every request: vLLM's, llama.cpp's and Ollama's names. */
export const guided = {
  guided_json: z
    .union([schema, z.string(), nothing])
    .nullish()
    .openapi({ description: `A JSON schema that the answer fits. ${one}` }),
  guided_regex: z
    .union([z.string(), nothing])
    .nullish()
    .openapi({ description: `A regex that the whole answer matches, in the syntax of Rust's regex. ${one}` }),
  guided_choice: z
    .union([z.array(z.string()).max(1024), nothing])
    .nullish()
    .openapi({ description: `Texts, one of which is the answer. ${one}` }),
  guided_grammar: z
    .union([z.string(), nothing])
    .nullish()
    .openapi({ description: `A grammar in Lark (llguidance's variant) or GBNF. ${one}` }),
  structured_outputs: z
    .union([
      z.object({
        json: z.union([schema, z.string()]).nullish(),
        regex: z.string().nullish(),
        choice: z.array(z.string()).max(1024).nullish(),
        grammar: z.string().nullish(),
        json_object: z.boolean().nullish(),
        disable_any_whitespace: z.boolean().nullish(),
        whitespace_pattern: z.unknown().optional(),
        structural_tag: z.unknown().optional(),
        disable_additional_properties: z.unknown().optional(),
        disable_fallback: z.unknown().optional(),
      }),
      nothing,
      z.literal(''),
    ])
    .nullish()
    .openapi({ description: `One of json, regex, choice, grammar and json_object, as for vLLM. ${one}` }),
  json_schema: z
    .union([schema, nothing, z.literal('')])
    .nullish()
    .openapi({ description: `As guided_json. ${one}` }),
  grammar: z
    .union([z.string(), nothing])
    .nullish()
    .openapi({ description: `As guided_grammar. ${one}` }),
  format: z
    .union([z.literal('json'), schema, nothing, z.literal('')])
    .nullish()
    .openapi({ description: `\`json\` for any object, or a JSON schema. ${one}` }),
}
