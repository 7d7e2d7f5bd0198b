// Creates elements. Texts are always set as text nodes, so no text of a run can become markup.

const SVG = "http://www.w3.org/2000/svg";

export function html(tag, attributes = {}, ...children) {
  return fillElement(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fillElement(document.createElementNS(SVG, tag), attributes, children);
}

function fillElement(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function byId(id) {
  return document.getElementById(id);
}

export function replace(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null));
}

// Replaces the children and keeps the keyboard focus on the element with the same data-key.
export function replaceInPlace(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  replace(node, ...children);
  if (focused) {
    [...node.querySelectorAll("[data-key]")].find((child) => child.dataset.key === focused)
      ?.focus({ preventScroll: true });
  }
}

export function makeOption(value, label, selected) {
  const node = html("option", { value }, label);
  node.selected = selected;
  return node;
}
