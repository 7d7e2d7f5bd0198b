"""How much cells disturb each other through their splits, and what a message about it is worth.

Both questions are answered on equal seeds under `contiguous` and `random` placement of the slices'
PRBs:

- `disturbances.py`: one cell, or all neighbours of a cell, change their split. By how much do
  throughput and reward change within the same step, at the cell itself and at its neighbours?
- `message_value.py`: a forecaster predicts a cell's next step from its last one, with or without
  the load of the neighbours, and the closed-form optimum for the forecast is applied. How much
  reward does the message add? The message of the step to be decided, which no real cell can have,
  is tried as well, to show that the forecaster could use a message that says more.
"""
