/** Answers `POST /v1/messages` and `POST /v1/messages/count_tokens`. */
import { ForetokenError } from '../../src/index.ts'
import type { Query } from '../answer.ts'
import type { Config } from '../config.ts'
import { collect, ReadAnswer } from '../endpoints/collect.ts'
import { optionsOf } from '../endpoints/options.ts'
import { endsTurn } from '../endpoints/tokens.ts'
import type { Endpoint, Plan } from '../exchange.ts'
import { entries, type z } from '../schemas/common.ts'
import { promptedBy } from './prompt.ts'
import { countRequest, messagesRequest } from './schemas.ts'
import { MessageShape } from './shape.ts'
import { messageFrames, pinged } from './stream.ts'

const limits = ({ limits }: Config) => ({ ...entries, messages: limits.messages, system: 256 })

export const messages: Endpoint<typeof messagesRequest> = {
  form: 'message',
  schema: messagesRequest,
  entries: limits,
  plan(body, { engine, config, model, requestId }): Plan {
    const { stop_sequences: stop, max_tokens, output_config, output_format } = body
    const marked = body.foretoken?.chunks === true
    const given = optionsOf(
      { ...body, stop, text: shapeOf(output_config, output_format) },
      engine,
      config,
      max_tokens,
      marked,
    )
    const { request, plan } = promptedBy(body, engine, given.guide)
    const options = { ...given, ...request }
    const { reader, format } = plan
    const shown = request.showSpecial
    const reading = { engine, isEnd: endsTurn(engine, options), shown, reader, format, corrects: options.verify }
    const shape = new MessageShape(model)
    return {
      requests: [options],
      choices: 1,
      stream: body.stream ?? false,
      format: pinged,
      progress: (body.stream && body.foretoken?.progress) ?? false,
      async body(events) {
        const [answer] = await collect(events, reading)
        if (!answer) throw new ForetokenError('internal', 'there is no answer')
        return shape.finished(answer.done, answer.parts)
      },
      ...messageFrames(shape, new ReadAnswer(reading), requestId),
    }
  },
}

type Body = z.infer<typeof messagesRequest>

/** Returns the shape of the answer by its present name. Throws `bad_argument` if both names give one. */
function shapeOf(config: Body['output_config'], older: Body['output_format']): Body['output_config'] {
  if (!older) return config
  if (!config?.format) return { format: older }
  throw new ForetokenError('bad_argument', 'output_config.format and output_format both give a shape; send one of them')
}

export const countTokens: Query<typeof countRequest> = {
  form: 'message',
  schema: countRequest,
  entries: limits,
  async answer(body, { engine }, count) {
    // Counting compiles no grammar.
    const { guide: _, ...request } = promptedBy(body, engine).request
    return { input_tokens: await count(request) }
  },
}
