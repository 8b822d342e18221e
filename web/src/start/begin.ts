// An action whose fields begin with what a guide knows. Pure.
import type { Action } from "../wallet/action";

export const begin = (action: Action, starts: Record<string, string>): Action => ({
  ...action,
  fields: action.fields.map((field) => (field.name in starts ? { ...field, start: starts[field.name] ?? "" } : field)),
});
