"""A figure with sliders; without ipywidgets, or without a running kernel, the figure alone."""

from base64 import b64encode

from mnp.plotting.style import png

WIDGET = "application/vnd.jupyter.widget-view+json"


class SliderFigure:
    """A figure that a notebook draws again whenever a slider is moved.

    Parameters
    ----------
    draw : callable
        draw(**values) -> figure, with one value per slider.
    sliders : {name: (value, low, high, step)}
        The type of `value`, int or float, is that of the slider.
    """

    def __init__(self, draw, **sliders):
        self.draw, self.sliders = draw, sliders

    def _repr_mimebundle_(self, **_):
        values = {name: first for name, (first, *_) in self.sliders.items()}
        image = png(self.draw(**values), dpi=100)
        bundle = {"text/plain": "figure with sliders", "image/png": b64encode(image).decode()}
        try:
            import ipywidgets
        except ImportError:
            return bundle
        kinds = {int: ipywidgets.IntSlider, float: ipywidgets.FloatSlider}
        names = ("value", "min", "max", "step")
        options = {"style": {"description_width": "100px"}, "layout": {"width": "330px"}}
        controls = {}
        for name, numbers in self.sliders.items():
            settings = dict(zip(names, numbers, strict=True)) | options
            controls[name] = kinds[type(numbers[0])](description=name.replace("_", " "), **settings)
        picture = ipywidgets.Image(value=image, layout={"align_self": "flex-start", "max_width": "100%"})

        def redraw(_change):
            picture.value = png(self.draw(**{name: one.value for name, one in controls.items()}), dpi=100)

        for control in controls.values():
            control.observe(redraw, "value")
        grid = ipywidgets.GridBox(list(controls.values()), layout={"grid_template_columns": "340px 340px"})
        box = ipywidgets.VBox([grid, picture])
        return box._repr_mimebundle_() | bundle
