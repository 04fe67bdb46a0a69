// Draws the figures of a page with Plotly, in the page's own colours, and again when those change.
"use strict";
(function () {
  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function template() {
    const text = colour("--text");
    const axis = {
      gridcolor: colour("--grid"), linecolor: colour("--line"), zerolinecolor: colour("--grid"),
      tickcolor: colour("--line"), automargin: true, title: { standoff: 8 },
    };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: text, family: "system-ui, sans-serif", size: 12 },
        colorway: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", colour("--muted"), text],
        xaxis: axis, yaxis: axis,
        legend: { orientation: "h", yanchor: "bottom", y: 1.02, x: 0 },
        hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--line"), font: { color: text } },
        margin: { l: 56, r: 16, t: 36, b: 44 },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: text },
      },
    };
  }

  function draw(figure) {
    const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    const layout = Object.assign({ uirevision: figure.dataset.name }, data.layout, { template: template() });
    const config = { responsive: true, displaylogo: false, showTips: false };
    return Plotly.react(figure.querySelector(".plot"), data.traces, layout, config);
  }

  function drawAll() {
    return Promise.all(Array.from(document.querySelectorAll("figure.figure"), draw));
  }

  function start() {
    drawAll().then(() => { document.documentElement.dataset.drawn = "yes"; });
    for (const query of ["(prefers-color-scheme: dark)", "print"]) {
      matchMedia(query).addEventListener("change", () => {
        drawAll();
        document.dispatchEvent(new Event("colours"));
      });
    }
  }

  window.figures = { draw: draw, template: template };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
