-- `ds` and `params` are rendered into this text. What other tasks pushed is bound: `:readings` is one JSON document.
CREATE TABLE IF NOT EXISTS readings (day, station, celsius);
DELETE FROM readings WHERE day = '{{ ds }}';

INSERT INTO readings
SELECT '{{ ds }}', value ->> 'station', value ->> 'celsius' FROM json_each(:readings);

-- The warmest of the week that ends on {{ ds }}.
SELECT station, celsius FROM readings
WHERE day BETWEEN '{{ macros.ds_add(ds, -6) }}' AND '{{ ds }}' AND celsius >= :floor
ORDER BY celsius DESC
LIMIT {{ params.top }};
