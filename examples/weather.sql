-- The table is the one that `choose_table` chose; its rows come in as one JSON document.
DROP TABLE IF EXISTS {{ ti.xcom_pull('choose_table', key='table_name') }};

CREATE TABLE {{ ti.xcom_pull('choose_table', key='table_name') }} AS
SELECT value ->> 'station' AS station,
       value ->> 'month'   AS month,
       value ->> 'warmest' AS warmest,
       value ->> 'mean'    AS mean,
       value ->> 'rain'    AS rain
FROM json_each(:months);
